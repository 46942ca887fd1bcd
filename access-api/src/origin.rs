//! Who may read: the pages that a browser may show results to, and the names under which it may ask.
//!
//! A browser tells both, and a page can forge neither. A client that is no browser can say what it
//! likes; these checks protect the people behind browsers, and are no authentication.

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

/// The names under which a browser may ask, see [`Config::hosts`](crate::Config::hosts).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hosts(Vec<String>);

impl Origin {
    /// Reads `scheme://host[:port]`, scheme http or https.
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

    /// Whether a request that was sent to `host` came from a page of the same. The scheme is taken from
    /// the page, because TLS may end at a proxy before us.
    pub fn is_of(&self, host: &HeaderValue) -> bool {
        authority(host).and_then(|host| Self::new(self.scheme.clone(), &host)).as_ref()
            == Some(self)
    }
}

impl Hosts {
    const ANY: &str = "*";

    /// `localhost`, every IP address, and `names`.
    pub fn new(names: &[String]) -> Self {
        Self(names.iter().map(|name| name.to_ascii_lowercase()).collect())
    }

    /// Whether `name` may be listed.
    pub fn is_name(name: &str) -> bool {
        let is_host = |host: Authority| host.port().is_none() && host.host() == name;
        name == Self::ANY || (!name.contains('@') && name.parse().is_ok_and(is_host))
    }

    /// Whether a request with this `Host` may be answered. One without is no browser's.
    pub fn allow(&self, host: Option<&HeaderValue>) -> bool {
        let Some(host) = host else { return true };
        if self.0.iter().any(|name| name == Self::ANY) {
            return true;
        }
        let Some(authority) = authority(host) else { return false };
        let name = authority.host().to_ascii_lowercase();
        let name = name.strip_suffix('.').unwrap_or(&name);
        // An address cannot be given to another name, which is what rebinding does.
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
