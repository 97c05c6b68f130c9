//! FUNCTION responds with a greeting. http.rs has the functions of the host.
#[path = "http.rs"]
mod http;
use http::*;

/// Responds and returns true, or returns false to let the cache and the origin respond.
fn handle() -> bool {
    let name = query(&uri(), "name").filter(|name| !name.is_empty()).unwrap_or_else(|| "world".to_string());
    set_header(RESPONSE, "Content-Type", "text/html; charset=utf-8");
    set_header(RESPONSE, "Cache-Control", "no-store");
    write(&format!("Hello, {}!\n", html(&name)));
    true
}

/// Runs after handle has returned false. It may change the response.
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
