//! A daemon that serves HTTP, and requests as they stand.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use super::daemon::{Daemon, Place, eventually};

/// A daemon that serves HTTP, and where.
pub fn start(place: &Place, more: &[&str]) -> (Daemon, String) {
    let before = place.log().len();
    let daemon = Daemon::start(place, &[&["--http", "127.0.0.1:0"], more].concat());
    let address = |log: &str| {
        let rest = log[before.min(log.len())..].split("http=Some(").nth(1)?;
        Some(rest.split(')').next()?.to_owned())
    };
    eventually("an address in the log", || address(&place.log()).is_some());
    let address = address(&place.log()).expect("the log names the address");
    (daemon, address)
}

/// A request as it stands; the status, and the whole answer's body where the server closes.
pub fn exchange(address: &str, request: &str) -> (u16, Vec<u8>) {
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("headers");
    let body = answer.split_off(end + 4);
    let status = String::from_utf8_lossy(&answer).split(' ').nth(1).and_then(|code| code.parse().ok());
    (status.expect("a status"), body)
}

pub fn get(address: &str, path: &str, headers: &str) -> (u16, Vec<u8>) {
    exchange(address, &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}\r\n"))
}
