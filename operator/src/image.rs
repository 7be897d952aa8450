//! Whether a text is a reference to a container image, as Kubernetes and container runtimes read it: pure.
//!
//! `[HOST[:PORT]/]PATH[:TAG][@DIGEST]`. Whether there is such an image, only a pull can tell.

/// Bounds of the name and of the tag, as registries have them.
const NAME_MAX: usize = 255;
const TAG_MAX: usize = 128;

/// Whether the text has the form of a reference.
pub(crate) fn is_image_reference(text: &str) -> bool {
    let (tagged, digest) = match text.split_once('@') {
        Some((tagged, digest)) => (tagged, Some(digest)),
        None => (text, None),
    };
    // A colon before the last slash belongs to the registry's port.
    let start = tagged.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match tagged[start..].split_once(':') {
        Some((last, tag)) => (&tagged[..start + last.len()], Some(tag)),
        None => (tagged, None),
    };
    let path = match name.split_once('/') {
        // Without a dot, a port or this name, the first part belongs to the path.
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => {
            if !is_host(host) {
                return false;
            }
            path
        }
        _ => name,
    };
    name.len() <= NAME_MAX
        && path.split('/').all(is_component)
        && tag.is_none_or(is_tag)
        && digest.is_none_or(is_digest)
}

fn is_host(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let is_label = |label: &str| {
        let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !label.is_empty() && label.bytes().all(is_inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    let is_address = |address: &str| address.parse::<std::net::Ipv6Addr>().is_ok();
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    bracketed.map_or_else(|| host.split('.').all(is_label), is_address)
        && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

/// Small letters and digits, joined by one dot, one or two underscores, or hyphens.
fn is_component(text: &str) -> bool {
    let is_inner = |character: char| character.is_ascii_lowercase() || character.is_ascii_digit();
    let mut joints = text.split(is_inner).filter(|joint| !joint.is_empty());
    text.starts_with(is_inner)
        && text.ends_with(is_inner)
        && joints.all(|joint| matches!(joint, "." | "_" | "__") || joint.bytes().all(|byte| byte == b'-'))
}

fn is_tag(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.bytes().next().is_some_and(is_word)
        && text.len() <= TAG_MAX
        && text.bytes().all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'))
}

fn is_digest(text: &str) -> bool {
    let digits = match text.split_once(':') {
        Some(("sha256", digits)) if digits.len() == 64 => digits,
        Some(("sha512", digits)) if digits.len() == 128 => digits,
        _ => return false,
    };
    digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_told_from_other_texts() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        let good = [
            "broker",
            "broker:v1",
            "team/broker:V1.0-rc_1",
            "fulmar.dev/fulmar-broker:v0.1.0-0123abcd",
            "localhost/broker",
            "registry:5000/a/b__c.d--e:1",
            "[2001:db8::1]:5000/broker:1",
            &format!("example.org/broker@{digest}"),
            &format!("example.org/broker:v1@{digest}"),
        ];
        let bad = [
            "",
            " broker",
            "broker:",
            "broker v1",
            "Broker:v1",
            "https://example.org/broker:v1",
            "example.org/",
            "example.org//broker",
            "example.org:port/broker",
            "-a.org/broker",
            "[2001:zz]/broker",
            "broker:-v1",
            "a..b/broker",
            "broker___x",
            "broker-",
            "broker@sha256:00",
            "broker@",
            &format!("broker:{}", "1".repeat(129)),
            &"a".repeat(256),
        ];
        assert_eq!(good.into_iter().filter(|text| !is_image_reference(text)).collect::<Vec<_>>(), [""; 0]);
        assert_eq!(bad.into_iter().filter(|text| is_image_reference(text)).collect::<Vec<_>>(), [""; 0]);
    }
}
