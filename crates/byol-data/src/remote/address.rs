//! Which roots are URLs, and what is shown of them.

use std::path::Path;

/// Whether a root is a URL rather than a path: `SCHEME://…`. It is kept as it was written; only the scheme is looked at.
pub fn is_url(root: &Path) -> bool {
    root.to_str().and_then(scheme).is_some()
}

/// `s3` of `s3://…`.
pub(crate) fn scheme(text: &str) -> Option<&str> {
    let (scheme, _) = text.split_once("://")?;
    let is_letter = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    (scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.chars().all(is_letter)).then_some(scheme)
}

/// A URL for messages: without its query and its user, which may be secrets.
pub(crate) fn shown(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or(url);
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    // In `az://container@account/…` what stands before the `@` is no user.
    let host = if scheme.starts_with("http") { host.rsplit('@').next().unwrap_or(host) } else { host };
    format!("{scheme}://{host}{path}")
}

/// What the names of pictures begin with where there are several roots: `shard-000.tar`, as for a path.
pub(crate) fn last_component(url: &str) -> String {
    let shown = shown(url);
    let (_, place) = shown.split_once("://").unwrap_or(("", &shown));
    let last = place.trim_end_matches('/').rsplit('/').next().unwrap_or(place);
    decoded(last)
}

/// `%20` as a space; what is no escape stays.
pub(crate) fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let code = after.get(..2).filter(|_| *first == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        match code.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_told_from_paths() {
        for url in ["s3://bucket", "https://host/a.tar?x=1", "az://c@a.blob.core.windows.net/x", "git+ssh://x"] {
            assert!(is_url(Path::new(url)), "{url}");
        }
        for path in ["data/train", "/data", "a:b", "C:\\data", "://x", "1://x", "./s3:/x"] {
            assert!(!is_url(Path::new(path)), "{path}");
        }
    }

    #[test]
    fn messages_show_no_secrets_and_names_no_address() {
        assert_eq!(shown("https://me:pw@host/a/b%20c.tar?Signature=abc"), "https://host/a/b%20c.tar");
        assert_eq!(shown("az://container@account/x"), "az://container@account/x");
        for (url, name) in [
            ("https://host/a/b%20c.tar?Signature=a/b", "b c.tar"),
            ("s3://bucket/train/", "train"),
            ("s3://bucket", "bucket"),
            ("gs://bucket/100%.tar", "100%.tar"),
        ] {
            assert_eq!(last_component(url), name);
        }
    }
}
