//! Artifacts signed by those who may release them: Ed25519 over the artifact's identity, in a section of its own.

use std::fmt;

use ed25519_dalek::{Signer, SigningKey, VerifyingKey};

use crate::error::{Error, Result};
use crate::ids::Digest;
use crate::registry::Artifact;
use crate::registry::sections::{SectionId, corrupt};

/// The public key (32 bytes), then the signature (64 bytes).
pub(super) const SECTION: SectionId = *b"sign";

/// Keeps a signature of this from being taken for a signature of anything else.
const CONTEXT: &[u8] = b"riskcycle artifact signature 1\n";

/// Says whose signatures count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey(pub [u8; 32]);

/// Signs artifacts.
pub struct ArtifactSigner {
    key: SigningKey,
}

impl ArtifactSigner {
    /// The signer of a secret: 32 bytes from a source of randomness that the host trusts.
    pub fn new(secret: [u8; 32]) -> Self {
        ArtifactSigner { key: SigningKey::from_bytes(&secret) }
    }

    /// What others know this signer by.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.key.verifying_key().to_bytes())
    }

    /// Signs an artifact as it is now, in the place of any signature before. A later change of it breaks the signature.
    pub fn sign(&self, artifact: &mut Artifact) {
        let signature = self.key.sign(&message(artifact.identity()));
        let section = [&self.public_key().0[..], &signature.to_bytes()[..]].concat();
        artifact.attachments.insert(SECTION, section);
    }
}

/// Without the secret.
impl fmt::Debug for ArtifactSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArtifactSigner").field("public_key", &self.public_key()).finish()
    }
}

/// # Errors
/// `Refused` unless one of the trusted keys has signed the identity; `Corrupt` for a section that is no signature.
pub(super) fn check(identity: Digest, section: Option<&[u8]>, trusted: &[PublicKey]) -> Result<()> {
    let refuse = |reason: &str| {
        Err(Error::Refused { action: "load the artifact".into(), reason: reason.into() })
    };
    let Some(section) = section else {
        return refuse("it is not signed, and a signature is demanded");
    };
    let parts = section.split_first_chunk::<32>();
    let Some((key, Ok(signature))) = parts.map(|(key, rest)| (key, <&[u8; 64]>::try_from(rest)))
    else {
        return Err(corrupt("section sign is not a key and a signature"));
    };
    if !trusted.contains(&PublicKey(*key)) {
        return refuse("it is signed by a key that is not trusted");
    }
    let signature = ed25519_dalek::Signature::from_bytes(signature);
    let verified = VerifyingKey::from_bytes(key)
        .and_then(|key| key.verify_strict(&message(identity), &signature));
    verified.or_else(|_| refuse("its signature is of other content"))
}

fn message(identity: Digest) -> Vec<u8> {
    [CONTEXT, identity.as_bytes()].concat()
}
