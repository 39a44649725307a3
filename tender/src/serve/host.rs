//! Which host a request is for.

use super::refusal::Refusal;
use hyper::Version;
use hyper::header::HOST;
use hyper::http::request::Parts;

/// The host of a request, which may have a port: that of its target, where it names one, before that of its
/// field (RFC 9112, sections 3.2 and 3.2.2; RFC 9113, section 8.3.1). One of HTTP/1.1 must have one field.
pub(super) fn of(parts: &Parts) -> Result<Option<&str>, Refusal> {
    let mut fields = parts.headers.get_all(HOST).iter();
    let field = fields.next();
    if fields.next().is_some() || (field.is_none() && parts.version == Version::HTTP_11) {
        return Err(Refusal::NoHost);
    }
    let field = field.map(|field| field.to_str().ok().filter(|host| is_host(host)).ok_or(Refusal::NoHost));
    let field = field.transpose()?;
    Ok(parts.uri.authority().map(|authority| authority.as_str()).or(field))
}

/// Whether a text can be a host, with or without a port. None at all is one (RFC 9110, section 7.2).
fn is_host(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::of;
    use hyper::{Request, Version};

    fn host(uri: &str, version: Version, fields: &[&str]) -> Option<Option<String>> {
        let mut request = Request::builder().uri(uri).version(version);
        for field in fields {
            request = request.header("host", *field);
        }
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        of(&parts).ok().map(|host| host.map(str::to_owned))
    }

    #[test]
    fn a_request_of_http_1_1_has_one_host() {
        let one = |fields: &[&str]| host("/", Version::HTTP_11, fields);
        assert_eq!(one(&["a:80"]), Some(Some("a:80".to_owned())));
        assert_eq!(one(&[]), None);
        assert_eq!(one(&["a", "a"]), None);
        assert_eq!(one(&["a/ -> 200"]), None);
        assert_eq!(host("/", Version::HTTP_10, &[]), Some(None));
    }

    #[test]
    fn the_host_of_the_target_counts_before_that_of_the_field() {
        let both = host("http://target:1/", Version::HTTP_11, &["field"]);
        assert_eq!(both, Some(Some("target:1".to_owned())));
        assert_eq!(host("http://target/", Version::HTTP_2, &[]), Some(Some("target".to_owned())));
    }
}
