//! Thumbnails of PNG pictures. A request for /thumb/WIDTH/PATH becomes one for /PATH. A PNG
//! in the response is scaled down to WIDTH pixels. All other responses pass unchanged.
//!
//! The picture is decoded row by row, so that it is never in memory as a whole.
#[path = "../../../functions/scaffold/rust/http.rs"]
mod http;
use http::*;

const LEAST_WIDTH: u32 = 16;
const MOST_WIDTH: u32 = 640;
const MOST_SIDE: u32 = 2000; // pixels of a source picture, in both directions
const MOST_BYTES: usize = 2 << 20; // of a PNG, read or written
const MOST_TEXT: usize = 4096; // bytes of a target or an entity tag

#[link(wasm_import_module = "http_handler")]
extern "C" {
    fn write_body(kind: u32, bytes: *const u8, len: u32);
}

/// Returns the width and the path of a thumbnail's target. Widths have no leading zero, so
/// that each thumbnail has one name.
fn target(uri: &str) -> Option<(u32, &str)> {
    let rest = uri.strip_prefix("/thumb/")?;
    let slash = rest.find('/')?;
    let digits = &rest[..slash];
    if digits.len() > 3 || digits.starts_with('0') || !digits.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let width = digits.parse().ok().filter(|w| (LEAST_WIDTH..=MOST_WIDTH).contains(w))?;
    Some((width, &rest[slash..]))
}

#[no_mangle]
pub extern "C" fn handle_request() -> u64 {
    let uri = uri();
    if let Some((width, path)) = target(&uri).filter(|_| uri.len() <= MOST_TEXT) {
        set_uri(path);
        return (width as u64) << 32 | 1;
    }
    set_status(404);
    set_header(RESPONSE, "content-type", "text/plain; charset=utf-8");
    write("Thumbnails are at /thumb/WIDTH/PATH, with a WIDTH of 16 to 640.\n");
    0
}

#[no_mangle]
pub extern "C" fn handle_response(width: u32, failed: u32) {
    if failed != 0 || status() != 200 {
        return;
    }
    let picture = body(RESPONSE);
    if let Some(small) = shrink(&picture, width) {
        set_header(RESPONSE, "content-type", "image/png");
        weaken();
        unsafe { write_body(RESPONSE, small.as_ptr(), small.len() as u32) }
    }
}

/// Makes a strong entity tag weak, because the bytes differ from those it was made for.
fn weaken() {
    let tag = header(RESPONSE, "etag");
    if tag.len() > MOST_TEXT {
        remove_header(RESPONSE, "etag");
    } else if !tag.is_empty() && !tag.starts_with("W/") {
        set_header(RESPONSE, "etag", &format!("W/{}", tag));
    }
}

/// Reports whether all chunks of a PNG are whole and known to the decoder, up to IEND.
/// The decoder itself skips unknown critical chunks.
fn sound(mut png: &[u8]) -> bool {
    loop {
        if png.len() < 12 {
            return false;
        }
        let n = u32::from_be_bytes([png[0], png[1], png[2], png[3]]) as usize;
        match &png[4..8] {
            b"IEND" => return true,
            b"IHDR" | b"PLTE" | b"IDAT" => {}
            name if name[0] & 32 == 0 => return false,
            _ => {}
        }
        if n > png.len() - 12 {
            return false;
        }
        png = &png[12 + n..];
    }
}

/// Returns a PNG scaled down to a width, or None when the picture cannot be scaled down.
fn shrink(picture: &[u8], width: u32) -> Option<Vec<u8>> {
    if picture.len() > MOST_BYTES || !sound(picture.get(8..)?) {
        return None;
    }
    let mut decoder = png::Decoder::new(picture);
    decoder.set_transformations(png::Transformations::EXPAND);
    let mut reader = decoder.read_info().ok()?;
    let info = reader.info();
    let (w, h) = (info.width, info.height);
    if w <= width || w > MOST_SIDE || h > MOST_SIDE || info.interlaced || info.bit_depth == png::BitDepth::Sixteen {
        return None;
    }
    let (colour, _) = reader.output_color_type();
    let mut small = Areas::new(w, h, width, matches!(colour, png::ColorType::Rgba | png::ColorType::GrayscaleAlpha));
    for _ in 0..h {
        small.add(reader.next_row().ok()??.data(), colour);
    }
    small.encode().ok().filter(|out| out.len() <= MOST_BYTES)
}

/// The thumbnail while it is made. Each of its pixels is the mean of an area of the source.
/// In units of 1/width of a source pixel, each source pixel is `width` wide and each pixel
/// of the thumbnail `source.0` wide, so all weights are whole numbers. The same holds for
/// rows. Colours are weighted by their alpha.
struct Areas {
    source: (u32, u32),
    size: (u32, u32),
    row: u32, // of the source
    across: Vec<u32>, // sums of one source row, at most 2000 * 255 * 255
    area: Vec<u64>,   // sums of the current row
    alpha: bool,
    pixels: Vec<u8>,
}

impl Areas {
    fn new(w: u32, h: u32, width: u32, alpha: bool) -> Areas {
        let n = 4 * width as usize;
        let height = ((h * width + w / 2) / w).max(1);
        Areas { source: (w, h), size: (width, height), row: 0, across: vec![0; n], area: vec![0; n], alpha, pixels: Vec::new() }
    }

    /// Adds a row of the source.
    fn add(&mut self, row: &[u8], colour: png::ColorType) {
        use png::ColorType::*;
        match colour {
            Grayscale => self.sum(row.iter().map(|&v| [v, v, v, 255])),
            GrayscaleAlpha => self.sum(row.chunks_exact(2).map(|p| [p[0], p[0], p[0], p[1]])),
            Rgba => self.sum(row.chunks_exact(4).map(|p| [p[0], p[1], p[2], p[3]])),
            _ => self.sum(row.chunks_exact(3).map(|p| [p[0], p[1], p[2], 255])),
        }
        let (h, height) = (self.source.1, self.size.1);
        let (begin, end) = (self.row * height, (self.row + 1) * height);
        let bound = (begin / h + 1) * h; // the end of the thumbnail's row
        let first = (bound.min(end) - begin) as u64;
        for (sum, v) in self.area.iter_mut().zip(&self.across) {
            *sum += *v as u64 * first;
        }
        if end >= bound {
            self.finish();
            for (sum, v) in self.area.iter_mut().zip(&self.across) {
                *sum = *v as u64 * (end - bound) as u64;
            }
        }
        self.row += 1;
    }

    /// Computes `across` from the pixels of a row.
    fn sum(&mut self, row: impl Iterator<Item = [u8; 4]>) {
        let (w, width) = (self.source.0, self.size.0);
        self.across.fill(0);
        let (mut at, mut left) = (0, w);
        for [r, g, b, a] in row {
            let a = a as u32;
            let pixel = [r as u32 * a, g as u32 * a, b as u32 * a, a];
            let part = width.min(left);
            for c in 0..4 {
                self.across[at + c] += pixel[c] * part;
            }
            left -= part;
            if left == 0 {
                at += 4;
                if at == self.across.len() {
                    return;
                }
                for c in 0..4 {
                    self.across[at + c] = pixel[c] * (width - part);
                }
                left = w - (width - part);
            }
        }
    }

    /// Appends a row of the thumbnail.
    fn finish(&mut self) {
        let total = self.source.0 as u64 * self.source.1 as u64;
        for sums in self.area.chunks_exact(4) {
            let alpha = sums[3];
            for sum in &sums[..3] {
                self.pixels.push(if alpha > 0 { ((sum + alpha / 2) / alpha) as u8 } else { 0 });
            }
            if self.alpha {
                self.pixels.push(((alpha + total / 2) / total) as u8);
            }
        }
    }

    fn encode(&self) -> Result<Vec<u8>, png::EncodingError> {
        let mut out = Vec::new();
        let mut encoder = png::Encoder::new(&mut out, self.size.0, self.size.1);
        encoder.set_color(if self.alpha { png::ColorType::Rgba } else { png::ColorType::Rgb });
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_compression(png::Compression::Default);
        encoder.set_adaptive_filter(png::AdaptiveFilterType::Adaptive);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&self.pixels)?;
        writer.finish()?;
        Ok(out)
    }
}
