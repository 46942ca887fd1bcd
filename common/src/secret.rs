//! Texts that must not be shown: [`Secret`], and [`SecretUrl`], which is an address that may hold one.
//!
//! Both are masked when they are shown or serialised: in log lines, on `/ready`, in errors and by
//! `--dump-config`. Only [`Secret::reveal`] and [`SecretUrl::reveal`] return the text itself.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

/// What is shown in place of a secret.
pub const MASK: &str = "***";

/// A password, a token, or a text that may hold one.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

/// The address of a server. Its user info and its query are not shown, since both may hold a secret.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct SecretUrl(String);

impl Secret {
    /// The text itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl SecretUrl {
    /// The address itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl<T: Into<String>> From<T> for Secret {
    fn from(text: T) -> Self {
        Self(text.into())
    }
}

impl<T: Into<String>> From<T> for SecretUrl {
    fn from(text: T) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "" } else { MASK })
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((scheme, rest)) = self.0.split_once("://") else {
            // This is not an address, so any part of it could be secret.
            return f.write_str(if self.0.is_empty() { "" } else { MASK });
        };
        // The first of these characters ends the authority, so no query begins before it.
        let authority_end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(authority_end);
        let path_end = rest.find(['?', '#']).unwrap_or(rest.len());
        let (path, query) = rest.split_at(path_end);
        match authority.rsplit_once('@') {
            Some((_, host)) => write!(f, "{scheme}://{MASK}@{host}{path}")?,
            None => write!(f, "{scheme}://{authority}{path}")?,
        }
        if query.is_empty() { Ok(()) } else { write!(f, "?{MASK}") }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_string(), f)
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_string(), f)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for SecretUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_address_shows_its_host_and_path_only() {
        for (address, shown) in [
            ("", ""),
            ("ws://feed:8080/2/rsvps", "ws://feed:8080/2/rsvps"),
            ("wss://ada:s3cret@feed/a", "wss://***@feed/a"),
            ("wss://s3cret@feed", "wss://***@feed"),
            ("wss://ada:s3@cret@feed/a@b", "wss://***@feed/a@b"),
            ("wss://feed/a?token=s3cret#s3cret", "wss://feed/a?***"),
            ("wss://feed?s3cret", "wss://feed?***"),
            ("wss://feed/a#s3cret", "wss://feed/a?***"),
            ("s3cret", "***"),
        ] {
            assert_eq!(SecretUrl::from(address).to_string(), shown, "{address}");
        }
    }

    proptest! {
        #[test]
        fn nothing_secret_is_in_what_is_shown(
            user in "[a-z]{0,4}", host in "[a-z]{1,5}", path in "(/[a-z]{0,3}){0,3}", key in "[a-z]{0,3}",
        ) {
            let secret = "S3CRET";
            for address in [
                format!("wss://{user}:{secret}@{host}{path}"),
                format!("wss://{secret}@{host}{path}?{key}"),
                format!("wss://{host}{path}?{key}={secret}&x={secret}"),
                format!("wss://{host}{path}#{secret}"),
            ] {
                let url = SecretUrl::from(address.as_str());
                let shown = [url.to_string(), format!("{url:?}"), serde_json::to_string(&url).unwrap()];
                prop_assert!(shown.iter().all(|text| !text.contains(secret) && text.contains(&host)));
                prop_assert_eq!(url.reveal(), &address);
                let whole = Secret::from(address.as_str());
                let shown = [whole.to_string(), format!("{whole:?}"), serde_json::to_string(&whole).unwrap()];
                prop_assert!(shown.iter().all(|text| text.trim_matches('"') == MASK));
            }
        }
    }
}
