//! FUNCTION answers with a greeting. http.rs has what the host gives.
#[path = "http.rs"]
mod http;
use http::*;

/// Answers and returns true, or returns false to let the cache and the origin answer.
fn handle() -> bool {
    let uri = uri();
    let name = uri
        .split_once("name=")
        .map(|(_, rest)| rest.split('&').next().unwrap_or(""))
        .filter(|name| !name.is_empty())
        .unwrap_or("world");
    let name: String = name.chars().filter(|c| c.is_alphanumeric()).collect();
    set_header(RESPONSE, "Content-Type", "text/html; charset=utf-8");
    set_header(RESPONSE, "Cache-Control", "no-store");
    write(&format!("Hello, {name}!\n"));
    true
}

/// After handle has returned false: may change the answer.
fn respond(_failed: bool) {}

#[no_mangle]
pub extern "C" fn handle_request() -> u64 {
    if handle() {
        0
    } else {
        1
    }
}

#[no_mangle]
pub extern "C" fn handle_response(_token: u32, failed: u32) {
    respond(failed != 0)
}
