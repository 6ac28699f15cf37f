//! Who may read: programs on this machine, or whoever shows the token; never a web page from elsewhere.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::super::token::Token;
use super::api::refusal;
use crate::error::Result;

/// What a request must show.
#[derive(Debug)]
pub struct Guard {
    token: Option<Token>,
}

impl Guard {
    /// Reads the token's file: its first line.
    pub fn new(file: Option<&Path>) -> Result<Self> {
        Ok(Self { token: file.map(|file| Token::read(file, "--http-token")).transpose()? })
    }

    pub fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Why a request with these headers is refused, if it is.
    fn objection(&self, headers: &HeaderMap) -> Option<(StatusCode, &'static str)> {
        // Of a header that is said twice, who knows which one counts; what cannot be read is not taken for none.
        let is_clear = |name| {
            let mut values = headers.get_all(name).iter();
            values.next().is_none_or(|value| value.to_str().is_ok()) && values.next().is_none()
        };
        if !is_clear(header::HOST) || !is_clear(header::ORIGIN) {
            return Some((StatusCode::BAD_REQUEST, "one Host and one Origin header, in ASCII"));
        }
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let host = text(header::HOST).unwrap_or_default();
        // A page from elsewhere that names this machine otherwise (DNS rebinding) does not know the token.
        if self.token.is_none() && !is_this_machine(host) {
            return Some((StatusCode::FORBIDDEN, "the Host header must name this machine, such as localhost"));
        }
        if let Some(origin) = text(header::ORIGIN)
            && origin.split_once("://").is_none_or(|(_, named)| !named.eq_ignore_ascii_case(host))
        {
            return Some((StatusCode::FORBIDDEN, "a page of another origin may not read this"));
        }
        let shown = text(header::AUTHORIZATION).and_then(shown).unwrap_or_default();
        match &self.token {
            Some(token) if !token.is(&shown) => Some((
                StatusCode::UNAUTHORIZED,
                "expected Authorization: Bearer with the token, or it as Basic password",
            )),
            _ => None,
        }
    }
}

/// The token in an Authorization header: as it is from programs, as the password from browsers, which ask their user for one.
fn shown(authorization: &str) -> Option<Vec<u8>> {
    let (scheme, value) = authorization.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(value.as_bytes().to_vec());
    }
    let pair = BASE64_STANDARD.decode(value).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let colon = pair.iter().position(|byte| *byte == b':')?;
    Some(pair[colon + 1..].to_vec())
}

/// `localhost` or an address on loopback, with or without a port.
fn is_this_machine(host: &str) -> bool {
    let bracketed = host.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (name, port) = bracketed.unwrap_or_else(|| host.split_at(host.find(':').unwrap_or(host.len())));
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    if !port.is_empty() && !port.strip_prefix(':').is_some_and(is_port) {
        return false;
    }
    if bracketed.is_some() {
        return name.parse().is_ok_and(|address: Ipv6Addr| address.is_loopback());
    }
    name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(|address: Ipv4Addr| address.is_loopback())
}

/// Lets a request through, or says why not.
pub async fn check(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    match guard.objection(request.headers()) {
        None => next.run(request).await,
        Some((status, reason)) => {
            let mut response = (status, refusal(reason)).into_response();
            if status == StatusCode::UNAUTHORIZED {
                response
                    .headers_mut()
                    .insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Basic realm=\"relstab\""));
            }
            response
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(token: Option<&[u8]>, pairs: &[(header::HeaderName, &str)]) -> Option<u16> {
        let headers = pairs.iter().map(|(name, value)| (name.clone(), value.parse().expect("a value"))).collect();
        Guard { token: token.map(Token::of) }.objection(&headers).map(|(status, _)| status.as_u16())
    }

    #[test]
    fn only_this_machine_is_let_in_without_a_token() {
        for host in ["localhost", "LOCALHOST:7878", "127.0.0.1:7878", "[::1]:7878", "127.9.9.9"] {
            assert_eq!(refused(None, &[(header::HOST, host)]), None, "{host}");
        }
        for host in ["example.org", "localhost.example.org", "127.0.0.1.example.org", "10.0.0.1", "", "[::2]"]
            .into_iter()
            .chain([
                "[::1]evil.com",
                "localhost:evil.com",
                "localhost:",
                "[::1]:",
                "[localhost]",
                "::1",
                "127.0.0.1:80:80",
            ])
        {
            assert_eq!(refused(None, &[(header::HOST, host)]), Some(403), "{host}");
        }
    }

    #[test]
    fn pages_of_another_origin_are_refused() {
        let host = (header::HOST, "localhost:7878");
        assert_eq!(refused(None, &[host.clone(), (header::ORIGIN, "http://localhost:7878")]), None);
        for origin in ["http://localhost:80", "http://example.org", "null", "http://127.0.0.1:7878"] {
            assert_eq!(refused(None, &[host.clone(), (header::ORIGIN, origin)]), Some(403), "{origin}");
        }
    }

    #[test]
    fn headers_that_are_said_twice_or_cannot_be_read_are_refused() {
        let (host, origin) = ((header::HOST, "localhost"), (header::ORIGIN, "http://localhost"));
        for twice in [&host, &origin] {
            assert_eq!(refused(None, &[host.clone(), origin.clone(), twice.clone()]), Some(400), "{twice:?}");
        }
        assert_eq!(refused(None, &[host, (header::ORIGIN, "http://\u{e9}vil.com")]), Some(400));
    }

    #[test]
    fn a_token_is_asked_for_whatever_the_host() {
        let host = (header::HOST, "example.org");
        let token = Some(b"0123456789abcdef".as_slice());
        assert_eq!(refused(token, std::slice::from_ref(&host)), Some(401));
        assert_eq!(refused(token, &[host.clone(), (header::AUTHORIZATION, "Bearer 0123456789abcdeX")]), Some(401));
        assert_eq!(refused(token, &[host.clone(), (header::AUTHORIZATION, "Bearer 0123456789abcdef")]), None);
        // "anyone:0123456789abcdef", as a browser sends it.
        assert_eq!(refused(token, &[host, (header::AUTHORIZATION, "Basic YW55b25lOjAxMjM0NTY3ODlhYmNkZWY=")]), None);
    }
}
