//! The host's functions (https://http-wasm.io/http-handler-abi/) with Rust wrappers.
#![allow(dead_code)]

pub const REQUEST: u32 = 0;
pub const RESPONSE: u32 = 1;

mod host {
    #[link(wasm_import_module = "http_handler")]
    extern "C" {
        pub fn get_uri(buf: *mut u8, limit: u32) -> u32;
        pub fn set_uri(uri: *const u8, len: u32);
        pub fn get_method(buf: *mut u8, limit: u32) -> u32;
        pub fn get_config(buf: *mut u8, limit: u32) -> u32;
        pub fn get_header_values(kind: u32, name: *const u8, len: u32, buf: *mut u8, limit: u32) -> u64;
        pub fn set_header_value(kind: u32, name: *const u8, len: u32, value: *const u8, value_len: u32);
        pub fn add_header_value(kind: u32, name: *const u8, len: u32, value: *const u8, value_len: u32);
        pub fn remove_header(kind: u32, name: *const u8, len: u32);
        pub fn read_body(kind: u32, buf: *mut u8, limit: u32) -> u64;
        pub fn write_body(kind: u32, text: *const u8, len: u32);
        pub fn get_status_code() -> u32;
        pub fn set_status_code(status: u32);
        pub fn log(level: i32, text: *const u8, len: u32);
    }
}

/// perto's own. A guest that calls none of them runs on every host of the ABI.
mod perto {
    #[link(wasm_import_module = "perto")]
    extern "C" {
        pub fn now() -> i64;
        pub fn edge_info(buf: *mut u8, limit: u32) -> u32;
        pub fn client_info(buf: *mut u8, limit: u32) -> u32;
        pub fn kv_get(key: *const u8, len: u32, buf: *mut u8, limit: u32) -> i32;
        pub fn fetch(uri: *const u8, len: u32) -> i32;
        pub fn fetch_body(buf: *mut u8, limit: u32) -> u64;
    }
}

const BUFFER: usize = 16 << 10;

/// Reads a value of the host. The host writes all of it or nothing, and returns its
/// length. When the buffer is too small, bytes enlarges it and reads again.
fn bytes(mut get: impl FnMut(*mut u8, u32) -> u32) -> Vec<u8> {
    let mut buf = vec![0u8; BUFFER];
    let mut n = get(buf.as_mut_ptr(), BUFFER as u32) as usize;
    if n > BUFFER {
        buf.resize(n, 0);
        n = get(buf.as_mut_ptr(), n as u32) as usize;
    }
    buf.truncate(n);
    buf
}

fn text(get: impl FnMut(*mut u8, u32) -> u32) -> String {
    String::from_utf8_lossy(&bytes(get)).into_owned()
}

/// Reads a body, part by part.
fn all(mut get: impl FnMut(*mut u8, u32) -> u64) -> Vec<u8> {
    let (mut out, mut buf) = (Vec::new(), vec![0u8; BUFFER]);
    loop {
        let r = get(buf.as_mut_ptr(), BUFFER as u32);
        out.extend_from_slice(&buf[..r as u32 as usize]);
        if r >> 32 == 1 {
            return out;
        }
    }
}

/// Path and query.
pub fn uri() -> String {
    text(|buf, limit| unsafe { host::get_uri(buf, limit) })
}
/// Changes the target for the next handler.
pub fn set_uri(uri: &str) {
    unsafe { host::set_uri(uri.as_ptr(), uri.len() as u32) }
}
pub fn method() -> String {
    text(|buf, limit| unsafe { host::get_method(buf, limit) })
}
/// The function's key config.
pub fn config() -> String {
    text(|buf, limit| unsafe { host::get_config(buf, limit) })
}

/// The first value of a field, or "".
pub fn header(kind: u32, name: &str) -> String {
    let values = bytes(|buf, limit| unsafe { host::get_header_values(kind, name.as_ptr(), name.len() as u32, buf, limit) } as u32);
    String::from_utf8_lossy(values.split(|&c| c == 0).next().unwrap_or_default()).into_owned()
}

pub fn set_header(kind: u32, name: &str, value: &str) {
    unsafe { host::set_header_value(kind, name.as_ptr(), name.len() as u32, value.as_ptr(), value.len() as u32) }
}

pub fn add_header(kind: u32, name: &str, value: &str) {
    unsafe { host::add_header_value(kind, name.as_ptr(), name.len() as u32, value.as_ptr(), value.len() as u32) }
}
pub fn remove_header(kind: u32, name: &str) {
    unsafe { host::remove_header(kind, name.as_ptr(), name.len() as u32) }
}

/// A parameter of a target's query, decoded: the first of that name.
pub fn query(uri: &str, name: &str) -> Option<String> {
    let (_, query) = uri.split_once('?')?;
    let mut parameters = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    parameters.find(|(n, _)| decode(n) == name).map(|(_, value)| decode(value))
}

/// Decodes percent-encoding. Invalid escapes stay as they are.
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

/// Encodes a text for a path segment or a query's value (RFC 3986, section 2.3). Use it
/// for text of clients: perto ends a guest that sets a target with a space or a control
/// byte.
pub fn encode(text: &str) -> String {
    let mut out = String::new();
    for &b in text.as_bytes() {
        if b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
            out.push(b as char);
        } else {
            out.push_str(&format!("%{:02X}", b));
        }
    }
    out
}

/// Escapes the special characters of HTML.
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

/// A whole body.
pub fn body(kind: u32) -> Vec<u8> {
    all(|buf, limit| unsafe { host::read_body(kind, buf, limit) })
}

/// Appends to the response's body. The first call replaces the old body.
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

/// Nanoseconds since 1970 UTC.
pub fn now() -> i64 {
    unsafe { perto::now() }
}
/// JSON: name, pop, city, country, placement.
pub fn edge_info() -> String {
    text(|buf, limit| unsafe { perto::edge_info(buf, limit) })
}
/// JSON: address, city, country, lat, lon.
pub fn client_info() -> String {
    text(|buf, limit| unsafe { perto::client_info(buf, limit) })
}

/// A value of the function's data.
pub fn kv(key: &str) -> Option<String> {
    let mut found = false;
    let value = text(|buf, limit| {
        let n = unsafe { perto::kv_get(key.as_ptr(), key.len() as u32, buf, limit) };
        found = n >= 0;
        n.max(0) as u32
    });
    found.then_some(value)
}

/// Requests another path of the service and returns its status and body. Status -1: it
/// failed. Status -2: the limit of subrequests is reached.
pub fn fetch(uri: &str) -> (i32, Vec<u8>) {
    match unsafe { perto::fetch(uri.as_ptr(), uri.len() as u32) } {
        status if status < 0 => (status, Vec::new()),
        status => (status, all(|buf, limit| unsafe { perto::fetch_body(buf, limit) })),
    }
}
