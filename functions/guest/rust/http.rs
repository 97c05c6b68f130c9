//! The host's functions (https://http-wasm.io/http-handler-abi/), and Rust around them.
#![allow(dead_code)]

pub const REQUEST: u32 = 0;
pub const RESPONSE: u32 = 1;

mod host {
    #[link(wasm_import_module = "http_handler")]
    extern "C" {
        pub fn get_uri(buf: *mut u8, limit: u32) -> u32;
        pub fn get_method(buf: *mut u8, limit: u32) -> u32;
        pub fn get_config(buf: *mut u8, limit: u32) -> u32;
        pub fn get_header_values(kind: u32, name: *const u8, len: u32, buf: *mut u8, limit: u32) -> u64;
        pub fn set_header_value(kind: u32, name: *const u8, len: u32, value: *const u8, value_len: u32);
        pub fn read_body(kind: u32, buf: *mut u8, limit: u32) -> u64;
        pub fn write_body(kind: u32, text: *const u8, len: u32);
        pub fn get_status_code() -> u32;
        pub fn set_status_code(status: u32);
        pub fn log(level: i32, text: *const u8, len: u32);
    }
}

const LIMIT: usize = 16 << 10;

fn text(get: unsafe extern "C" fn(*mut u8, u32) -> u32) -> String {
    let mut buf = vec![0u8; LIMIT];
    let n = unsafe { get(buf.as_mut_ptr(), LIMIT as u32) } as usize;
    buf.truncate(n.min(LIMIT));
    String::from_utf8_lossy(&buf).into_owned()
}

/// Path and query.
pub fn uri() -> String {
    text(host::get_uri)
}
pub fn method() -> String {
    text(host::get_method)
}
/// What the configuration says.
pub fn config() -> String {
    text(host::get_config)
}

/// The first value of a field, or "".
pub fn header(kind: u32, name: &str) -> String {
    let mut buf = vec![0u8; LIMIT];
    let r = unsafe { host::get_header_values(kind, name.as_ptr(), name.len() as u32, buf.as_mut_ptr(), LIMIT as u32) };
    let n = r as u32 as usize;
    if r >> 32 == 0 || n > LIMIT {
        return String::new();
    }
    let end = buf[..n].iter().position(|&c| c == 0).unwrap_or(n);
    String::from_utf8_lossy(&buf[..end]).into_owned()
}

pub fn set_header(kind: u32, name: &str, value: &str) {
    unsafe { host::set_header_value(kind, name.as_ptr(), name.len() as u32, value.as_ptr(), value.len() as u32) }
}

/// A parameter of a target's query, decoded: the first of that name.
pub fn query(uri: &str, name: &str) -> Option<String> {
    let (_, query) = uri.split_once('?')?;
    let mut parameters = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    parameters.find(|(n, _)| decode(n) == name).map(|(_, value)| decode(value))
}

/// Undoes percent-encoding; what is none stays as it is.
pub fn decode(text: &str) -> String {
    let (text, mut out) = (text.as_bytes(), Vec::new());
    let hex = |i: usize| text.get(i).and_then(|&c| (c as char).to_digit(16));
    let mut i = 0;
    while i < text.len() {
        match (text[i], hex(i + 1), hex(i + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high << 4 | low) as u8);
                i += 2;
            }
            (b'+', _, _) => out.push(b' '),
            (c, _, _) => out.push(c),
        }
        i += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Escapes what HTML takes for its own.
pub fn html(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// All of a body.
pub fn body(kind: u32) -> Vec<u8> {
    let (mut all, mut buf) = (Vec::new(), vec![0u8; LIMIT]);
    loop {
        let r = unsafe { host::read_body(kind, buf.as_mut_ptr(), LIMIT as u32) };
        all.extend_from_slice(&buf[..r as u32 as usize]);
        if r >> 32 == 1 {
            return all;
        }
    }
}

/// Appends to the answer's body; the first call replaces what was there.
pub fn write(text: &str) {
    if !text.is_empty() {
        unsafe { host::write_body(RESPONSE, text.as_ptr(), text.len() as u32) }
    }
}

pub fn status() -> u32 {
    unsafe { host::get_status_code() }
}
pub fn set_status(status: u32) {
    unsafe { host::set_status_code(status) }
}
pub fn log(text: &str) {
    unsafe { host::log(0, text.as_ptr(), text.len() as u32) }
}
