//! What our own requests to others have in common, whoever makes them.

use std::net::IpAddr;

use reqwest::Url;

/// Makes TLS work; every client of reqwest needs it first.
pub(crate) fn install_tls() {
    // Somebody may have been here before; one provider is as good as the other.
    let _installed = rustls::crypto::ring::default_provider().install_default();
}

/// Whether `url` leads to this machine, where no proxy stands in between.
pub(crate) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    host == "localhost"
        || host
            .trim_matches(['[', ']'])
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_told_from_others() {
        for (url, here) in [
            ("http://localhost:1/mcp", true),
            ("http://127.0.0.1/", true),
            ("http://127.9.9.9:80", true),
            ("http://[::1]:1", true),
            ("http://localhost.example.org/", false),
            ("http://10.0.0.1/", false),
            ("http://[::2]/", false),
        ] {
            assert_eq!(is_loopback(&url.parse().unwrap()), here, "{url}");
        }
    }
}
