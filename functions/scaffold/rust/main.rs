//! FUNCTION answers with a greeting. http.rs has what the host gives.
#[path = "http.rs"]
mod http;
use http::*;

/// Answers and returns true, or returns false to let the cache and the origin answer.
fn handle() -> bool {
    let name = query(&uri(), "name").filter(|name| !name.is_empty()).unwrap_or_else(|| "world".to_string());
    set_header(RESPONSE, "Content-Type", "text/html; charset=utf-8");
    set_header(RESPONSE, "Cache-Control", "no-store");
    write(&format!("Hello, {}!\n", html(&name)));
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
