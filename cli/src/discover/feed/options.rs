//! How a connection is made.

use std::path::PathBuf;

/// How a connection is made.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Headers of the request.
    pub headers: Vec<Header>,
    /// Texts that are sent first on a WebSocket.
    pub first_messages: Vec<String>,
    /// PEM certificates to trust instead of the public authorities; empty for those.
    pub ca_file: PathBuf,
}

/// A header of a request. Its value is not shown, because it may be a token.
#[derive(Clone)]
pub struct Header {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

impl std::fmt::Debug for Header {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: …", self.name)
    }
}

impl std::str::FromStr for Header {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text
            .split_once(':')
            .ok_or("write 'Name: value', for example -H 'Authorization: Bearer …'")?;
        let (name, value) = (name.trim(), value.trim());
        if ::http::HeaderName::try_from(name).is_err()
            || ::http::HeaderValue::try_from(value).is_err()
        {
            return Err("the name or the value is not valid in HTTP".to_owned());
        }
        Ok(Self { name: name.to_owned(), value: value.to_owned() })
    }
}
