//! The cryptography of TLS. reqwest is built without one, so that `ring` is the only one there is, and
//! takes the process's: without it, making a client panics.

/// Makes `ring` the process's provider. To be called before a client is made; twice is the same.
pub fn provider_install() {
    // It fails where there is one already: that is `ring` too, for no other is linked.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
