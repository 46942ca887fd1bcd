//! A property of Kafka clients as given with `-X`. Its value is never shown, because it may be a password.

use std::fmt;
use std::str::FromStr;

/// `security.protocol=SASL_SSL`.
#[derive(Clone, PartialEq, Eq)]
pub struct Property {
    /// Its name in librdkafka.
    pub key: String,
    /// Its value.
    pub value: String,
}

impl FromStr for Property {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = text
            .split_once('=')
            .ok_or("write KEY=VALUE, for example -X security.protocol=SASL_SSL")?;
        // In the file the section is [kafka.properties], so that users may write the prefix here too.
        let key = key.trim().strip_prefix("kafka.").unwrap_or(key.trim());
        if key.is_empty() {
            return Err("there is no key before the =".to_owned());
        }
        Ok(Self { key: key.to_owned(), value: value.to_owned() })
    }
}

impl fmt::Debug for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=…", self.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_property_is_a_key_and_a_value_that_debug_does_not_show() {
        let property: Property = "sasl.password=se=cret".parse().unwrap();
        assert_eq!((property.key.as_str(), property.value.as_str()), ("sasl.password", "se=cret"));
        assert!(!format!("{property:?}").contains("cret"));
        let property: Property = "kafka.security.protocol=SSL".parse().unwrap();
        assert_eq!(property.key, "security.protocol");
    }

    #[test]
    fn what_is_no_assignment_is_refused_without_showing_it() {
        for wrong in ["sasl.password", "=secret"] {
            let error = wrong.parse::<Property>().unwrap_err();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
