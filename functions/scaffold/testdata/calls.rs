//! A guest that uses all of http.rs, for TestBindings.
#[path = "http.rs"]
mod http;
use http::*;

fn handle() -> bool {
    let uri = uri();
    match uri.as_str() {
        "/pass" => {
            remove_header(REQUEST, "Range");
            add_header(REQUEST, "X-Guest", &method());
            set_uri("/passed");
            return false;
        }
        "/headers" => write(&format!("{}|{}|", header(REQUEST, "X-Two"), header(REQUEST, "X-None"))),
        "/encode" => write(&encode("a b/é&+%-._~")),
        "/body" => write(&String::from_utf8_lossy(&body(REQUEST))),
        "/kv" => {
            for key in ["a", "empty", "none"] {
                let v = kv(key);
                let found = v.is_some();
                write(&format!("{} {}|", v.unwrap_or_default(), found));
            }
        }
        "/info" => write(&format!("{}{}{}", edge_info(), client_info(), now() > 1_000_000_000_000_000_000)),
        "/fetch" => {
            for path in ["/other", "no-path"] {
                let (status, body) = fetch(path);
                write(&format!("{} {}|", status, String::from_utf8_lossy(&body)));
            }
        }
        _ if uri.len() > 8 << 10 => write(&format!("{} {}", uri.len(), header(REQUEST, "X-Long").len())),
        _ => set_status(404),
    }
    true
}

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
    let was = body(RESPONSE);
    write(&format!("{} {} {}", failed != 0, status(), String::from_utf8_lossy(&was)));
}
