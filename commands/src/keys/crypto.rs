//! How keys wrap keys and seal payloads: XChaCha20-Poly1305 with a random nonce in front.

use super::KEY_BYTES;
use autonomos_domain::ids::TenantId;
use bytes::BytesMut;
use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{AeadInOut, inout::InOutBuf},
};
use rand::RngCore;
use zeroize::{Zeroize, Zeroizing};

const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;

/// What is authenticated with a wrapped data key: it cannot be passed off as another.
pub(super) fn key_context(tenant: TenantId, key_id: u64) -> [u8; 24] {
    let mut context = [0_u8; 24];
    context[..16].copy_from_slice(tenant.0.as_bytes());
    context[16..].copy_from_slice(&key_id.to_be_bytes());
    context
}

pub(super) fn cipher(key: &[u8; KEY_BYTES]) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(key.into())
}

pub(super) fn random_key() -> Zeroizing<[u8; KEY_BYTES]> {
    let mut key = Zeroizing::new([0_u8; KEY_BYTES]);
    rand::rng().fill_bytes(key.as_mut_slice());
    key
}

/// Nonce ‖ ciphertext ‖ tag, in one allocation.
pub(super) fn encrypt(cipher: &XChaCha20Poly1305, context: &[u8], clear: &[u8]) -> BytesMut {
    let mut sealed = BytesMut::zeroed(NONCE_BYTES + clear.len() + TAG_BYTES);
    let (nonce_bytes, rest) = sealed.split_at_mut(NONCE_BYTES);
    rand::rng().fill_bytes(nonce_bytes);
    let (text, tag_bytes) = rest.split_at_mut(clear.len());
    text.copy_from_slice(clear);
    let nonce = XNonce::try_from(&*nonce_bytes).expect("the nonce has its length by construction");
    let tag = cipher
        .encrypt_inout_detached(&nonce, context, InOutBuf::from(text))
        .expect("XChaCha20 takes 256 GiB, more than fits in a commit");
    tag_bytes.copy_from_slice(&tag);
    sealed
}

pub(super) fn decrypt(cipher: &XChaCha20Poly1305, context: &[u8], sealed: &[u8]) -> Option<BytesMut> {
    let (nonce, rest) = sealed.split_at_checked(NONCE_BYTES)?;
    let (text, tag) = rest.split_at_checked(rest.len().checked_sub(TAG_BYTES)?)?;
    let mut clear = BytesMut::from(text);
    cipher
        .decrypt_inout_detached(
            &XNonce::try_from(nonce).ok()?,
            context,
            InOutBuf::from(clear.as_mut()),
            &tag.try_into().ok()?,
        )
        .ok()?;
    Some(clear)
}

pub(super) fn wrap(cipher: &XChaCha20Poly1305, context: &[u8], clear: &[u8]) -> Vec<u8> {
    encrypt(cipher, context, clear).to_vec()
}

pub(super) fn unwrap(
    cipher: &XChaCha20Poly1305,
    context: &[u8],
    wrapped: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    let mut clear = decrypt(cipher, context, wrapped)?;
    let kept = Zeroizing::new(clear.to_vec());
    clear.zeroize();
    Some(kept)
}

pub(super) fn unwrap_key(
    cipher: &XChaCha20Poly1305,
    context: &[u8],
    wrapped: &[u8],
) -> Option<Zeroizing<[u8; KEY_BYTES]>> {
    let clear = unwrap(cipher, context, wrapped)?;
    let mut key = Zeroizing::new([0_u8; KEY_BYTES]);
    if clear.len() != KEY_BYTES {
        return None;
    }
    key.copy_from_slice(&clear);
    Some(key)
}
