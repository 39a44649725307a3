//! Which function a request is for.

use std::fmt;
use std::str::FromStr;

/// What a function answers: a host or any, and all paths below a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Route {
    /// In lower case, without a port.
    host: Option<String>,
    /// Begins with a slash, and does not end with one but alone.
    path: String,
}

/// Why a text is no route.
#[derive(Debug, thiserror::Error)]
#[error("\"{text}\" is no route: {reason}")]
pub struct RouteError {
    text: String,
    reason: &'static str,
}

impl Route {
    /// All requests.
    pub(super) fn everything() -> Route {
        Route { host: None, path: "/".to_owned() }
    }

    /// How well it fits a request; nothing when it does not.
    fn fits(&self, host: Option<&str>, path: &str) -> Option<(bool, usize)> {
        if let Some(own) = &self.host
            && !host.is_some_and(|host| host.eq_ignore_ascii_case(own))
        {
            return None;
        }
        let rest = path.strip_prefix(self.path.trim_end_matches('/'))?;
        (rest.starts_with('/') || rest.is_empty() && path.starts_with('/'))
            .then_some((self.host.is_some(), self.path.len()))
    }
}

impl FromStr for Route {
    type Err = RouteError;

    fn from_str(text: &str) -> Result<Route, RouteError> {
        let wrong = |reason| RouteError { text: text.to_owned(), reason };
        let (host, path) = match text.find('/') {
            Some(at) => text.split_at(at),
            None => (text, "/"),
        };
        let sound = |byte: u8| byte.is_ascii_graphic() && !b"?#\"<>\\^`{|}".contains(&byte);
        if !path.bytes().all(sound) {
            return Err(wrong("a path has only characters of URLs, others as %XX"));
        }
        if host.is_empty() && text.is_empty() {
            return Err(wrong("it is a path, as /name, or a host, as example.org"));
        }
        if !host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.[:]".contains(&byte)) {
            return Err(wrong("a host is a name, as example.org, and a path begins with a slash"));
        }
        let path = if path.len() > 1 { path.trim_end_matches('/') } else { path };
        let path = if path.is_empty() { "/" } else { path };
        if path == "/-" || path.starts_with("/-/") {
            return Err(wrong("paths below /-/ are the server's own"));
        }
        let host = (!host.is_empty()).then(|| without_port(host).to_ascii_lowercase());
        Ok(Route { host, path: path.to_owned() })
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.host, self.path.as_str()) {
            (Some(host), "/") => f.write_str(host),
            (host, path) => write!(f, "{}{path}", host.as_deref().unwrap_or_default()),
        }
    }
}

/// A host without the port that may follow it.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        // A colon within brackets is one of an address.
        Some((name, port)) if !port.contains(']') => name,
        _ => host,
    }
}

/// The best of these for a request: one for its host before one for any, then the longest path. `host` may
/// have a port.
pub(super) fn find<'a, T>(
    functions: &'a [T],
    route: impl Fn(&T) -> &Route,
    host: Option<&str>,
    path: &str,
) -> Option<&'a T> {
    let host = host.map(without_port);
    let fitting = functions.iter().filter_map(|function| Some((route(function).fits(host, path)?, function)));
    fitting.max_by_key(|(fit, _)| *fit).map(|(_, function)| function)
}

#[cfg(test)]
mod tests {
    use super::{Route, find};

    #[test]
    fn the_host_counts_before_the_path_and_the_longer_path_before_the_shorter() {
        let routes = ["/", "/a", "/a/b", "example.org", "Example.org/a/"].map(|text| text.parse::<Route>());
        let routes = routes.map(|route| route.expect("a route"));
        let found = |host, path| {
            find(&routes, |route| route, host, path).map_or(String::new(), |route| route.to_string())
        };
        assert_eq!(found(None, "/x"), "/");
        assert_eq!(found(None, "/a"), "/a");
        assert_eq!(found(None, "/ab"), "/");
        assert_eq!(found(None, "/a/"), "/a");
        assert_eq!(found(Some("other.org"), "/a/b/c"), "/a/b");
        assert_eq!(found(Some("EXAMPLE.org:80"), "/x"), "example.org");
        assert_eq!(found(Some("example.org"), "/a/b"), "example.org/a");
        assert_eq!(found(None, "*"), "");
        assert_eq!(found(None, ""), "");
    }

    #[test]
    fn what_is_no_route_is_refused() {
        for (text, reason) in [
            ("", "it is a path"),
            ("/a b", "%XX"),
            ("/a?b", "%XX"),
            ("a_b/", "begins with a slash"),
            ("/-/metrics", "the server's own"),
        ] {
            let error = text.parse::<Route>().expect_err(text).to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
