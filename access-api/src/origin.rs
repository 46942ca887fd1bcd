//! Which pages may read results (`Origin`), and under which host names browsers may ask (`Host`).
//!
//! A browser sends both headers, and a page can forge neither. Another client can send what it likes: these
//! checks protect users of browsers, and are not an authentication.

use std::net::IpAddr;

use http::header::HeaderValue;
use http::uri::{Authority, Scheme, Uri};

/// Where a page comes from: RFC 6454.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    scheme: Scheme,
    host: String,
    port: u16,
}

/// The host names under which a browser may ask, see [`Config::hosts`](crate::Config::hosts).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hosts(Vec<String>);

impl Origin {
    /// Reads `scheme://host[:port]`; the scheme is http or https.
    pub fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let parts = uri.into_parts();
        if parts.path_and_query.is_some_and(|path| path != "/") || text.ends_with('/') {
            return None;
        }
        Self::new(parts.scheme?, &parts.authority?)
    }

    fn new(scheme: Scheme, authority: &Authority) -> Option<Self> {
        if authority.as_str().contains('@') {
            return None;
        }
        let default = if scheme == Scheme::HTTP {
            80
        } else if scheme == Scheme::HTTPS {
            443
        } else {
            return None;
        };
        let port = authority.port_u16().unwrap_or(default);
        Some(Self { scheme, host: authority.host().to_ascii_lowercase(), port })
    }

    /// Whether a page of this origin was served from `host`, the `Host` of its request. The scheme is taken from
    /// the page, because TLS may end at a proxy in front of this server.
    pub fn is_of(&self, host: &HeaderValue) -> bool {
        authority(host).and_then(|host| Self::new(self.scheme.clone(), &host)).as_ref()
            == Some(self)
    }
}

impl Hosts {
    const ANY: &str = "*";

    /// Allows `localhost`, names below `.localhost`, every IP address, and `names`.
    pub fn new(names: &[String]) -> Self {
        Self(names.iter().map(|name| name.to_ascii_lowercase()).collect())
    }

    /// Whether `name` is a host name without a port, or `*`.
    pub fn is_name(name: &str) -> bool {
        let is_host = |host: Authority| host.port().is_none() && host.host() == name;
        name == Self::ANY || (!name.contains('@') && name.parse().is_ok_and(is_host))
    }

    /// Whether a request with this `Host` may be answered. A request without one does not come from a browser.
    pub fn allow(&self, host: Option<&HeaderValue>) -> bool {
        let Some(host) = host else { return true };
        if self.0.iter().any(|name| name == Self::ANY) {
            return true;
        }
        let Some(authority) = authority(host) else { return false };
        let name = authority.host().to_ascii_lowercase();
        let name = name.strip_suffix('.').unwrap_or(&name);
        // DNS rebinding needs a name, so that a request for an IP address is safe.
        let is_address =
            name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
        is_address
            || name == "localhost"
            || name.ends_with(".localhost")
            || self.0.iter().any(|known| known == name)
    }
}

fn authority(host: &HeaderValue) -> Option<Authority> {
    host.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests;
