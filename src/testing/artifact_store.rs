//! The contract of [`ArtifactStore`], as checks that any backend must pass.
//!
//! ```
//! use riskcycle::registry::InMemoryArtifactStore;
//! use riskcycle::testing::artifact_store;
//!
//! artifact_store::all(InMemoryArtifactStore::default);
//! ```
//! `fresh` gives an empty store each time it is called. Each check panics at the first broken promise and says which it is.

use crate::ids::Digest;
use crate::registry::ArtifactStore;

/// All checks below.
///
/// # Panics
/// If one fails.
pub fn all<S: ArtifactStore>(fresh: impl Fn() -> S) {
    what_was_put_is_got(&fresh());
    what_was_never_put_is_not_found(&fresh());
    threads_put_and_get_at_once(&fresh());
}

/// Bytes come back as they were, under their SHA-256, however often they are put.
///
/// # Panics
/// If they do not.
pub fn what_was_put_is_got(store: &dyn ArtifactStore) {
    let long: Vec<u8> = (0..300_000_u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect();
    for content in [&b""[..], b"content", b"\0\xff\r\n", &long] {
        let digest = store.put(content).unwrap();
        assert_eq!(digest, Digest::of(content), "the digest is not the SHA-256 of the bytes");
        assert_eq!(store.put(content).unwrap(), digest, "the same bytes have another digest");
        assert_eq!(store.get(&digest).unwrap(), content, "other bytes came back");
    }
    assert_eq!(store.get(&Digest::of(b"content")).unwrap(), b"content", "a later put changed it");
}

/// A digest that nothing was put under is `NotFound`, before and after others were put.
///
/// # Panics
/// If it is anything else.
pub fn what_was_never_put_is_not_found(store: &dyn ArtifactStore) {
    let missing = || store.get(&Digest::of(b"other")).unwrap_err();
    assert!(missing().is_not_found(), "{}", missing());
    store.put(b"content").unwrap();
    assert!(missing().is_not_found(), "{}", missing());
}

/// Threads that put the same and different bytes all find them.
///
/// # Panics
/// If one does not.
pub fn threads_put_and_get_at_once(store: &dyn ArtifactStore) {
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            scope.spawn(move || {
                for i in 0..20_u8 {
                    let own = [thread, i];
                    for content in [&own[..], &[i]] {
                        let digest = store.put(content).unwrap();
                        assert_eq!(store.get(&digest).unwrap(), content, "bytes were lost");
                    }
                }
            });
        }
    });
}
