//! What makes two functions the same: name, code, argument and result types.
//!
//! An identity is registered once and lives as long as the program, so that the hot path carries a plain reference. Two
//! functions with one identity but different code would read each other's results: the second is refused.

use std::any::TypeId;
use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::error::Error;
use crate::sync::atomic::AtomicU64;
use crate::sync::{Arc, Mutex};

/// Says which layout of keys this is: part of every identity, so that a change of the encoding misses cleanly.
const KEY_FORMAT: &str = "memopool key v1";

/// What stands for a function's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// The digest of its tokens.
    Digest([u8; 32]),
    /// What its author said.
    Version(&'static str),
}

/// Collects the code of a function's dependencies, each once.
#[derive(Debug, Default)]
pub struct Deps(BTreeSet<(&'static str, Vec<u8>)>);

impl Deps {
    /// Adds one function. `false`: it is there already, and so are its own dependencies.
    pub fn enter(&mut self, name: &'static str, code: Code) -> bool {
        let code = match code {
            Code::Digest(digest) => digest.to_vec(),
            Code::Version(version) => [b"v", version.as_bytes()].concat(),
        };
        self.0.insert((name, code))
    }
}

/// A registered identity.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) name: &'static str,
    /// Distinguishes identities in this process.
    pub(crate) id: u32,
    /// Distinguishes them everywhere.
    pub(crate) digest: [u8; 32],
    /// How often a body of it was started, in all pools.
    pub(crate) runs: AtomicU64,
}

/// What an identity is made of.
#[derive(Debug, Clone)]
pub(crate) struct Signature {
    pub(crate) name: Arc<str>,
    /// Empty when there is neither a digest nor a version.
    pub(crate) code: Vec<u8>,
    pub(crate) args: &'static str,
    pub(crate) result: &'static str,
    /// The type of the function itself.
    pub(crate) function: TypeId,
    pub(crate) function_name: &'static str,
}

struct Registered {
    identity: &'static Identity,
    function: TypeId,
    function_name: &'static str,
}

static REGISTRY: Mutex<BTreeMap<[u8; 32], Registered>> = Mutex::new(BTreeMap::new());

impl Signature {
    /// The code of a macro's function: its own, and that of its dependencies.
    pub(crate) fn code_of(deps: &Deps) -> Vec<u8> {
        let mut hasher = blake3::Hasher::new();
        for (name, code) in &deps.0 {
            frame(&mut hasher, name.as_bytes());
            frame(&mut hasher, code);
        }
        hasher.finalize().as_bytes().to_vec()
    }

    /// The identity, and the refusal if other code has it.
    pub(crate) fn register(&self) -> (&'static Identity, Option<Error>) {
        let digest = self.digest();
        let mut registry = REGISTRY.lock();
        if let Some(known) = registry.get(&digest) {
            let clash = (known.function != self.function).then(|| self.clash(known));
            return (known.identity, clash);
        }
        let id = u32::try_from(registry.len() + 1).expect("fewer than 2^32 functions");
        let identity: &'static Identity = Box::leak(Box::new(Identity {
            name: Box::leak(Box::from(&*self.name)),
            id,
            digest,
            runs: AtomicU64::new(0),
        }));
        registry.insert(
            digest,
            Registered { identity, function: self.function, function_name: self.function_name },
        );
        (identity, None)
    }

    fn digest(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        for part in [KEY_FORMAT, &self.name, self.args, self.result] {
            frame(&mut hasher, part.as_bytes());
        }
        frame(&mut hasher, &self.code);
        *hasher.finalize().as_bytes()
    }

    /// What all versions of the function share.
    pub(super) fn family(&self) -> u64 {
        let mut hasher = blake3::Hasher::new();
        for part in [KEY_FORMAT, &self.name, self.args, self.result] {
            frame(&mut hasher, part.as_bytes());
        }
        let [a, b, c, d, e, f, g, h, ..] = *hasher.finalize().as_bytes();
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }

    /// The version, in words.
    pub(super) fn label(&self) -> String {
        match &*self.code {
            [] => "no version".into(),
            [b'v', version @ ..] if self.code.len() < 32 => {
                format!("version {}", String::from_utf8_lossy(version))
            }
            [a, b, c, d, ..] => format!("code {a:02x}{b:02x}{c:02x}{d:02x}"),
            _ => "another version".into(),
        }
    }

    fn clash(&self, known: &Registered) -> Error {
        let Signature { name, args, result, function_name, .. } = self;
        Error::invalid(format!(
            "two functions are called `{name}` with arguments `{args}` and result `{result}`: `{}` came first, \
             `{function_name}` is refused, since each would read the other's results; give one of them another name \
             or a `version`",
            known.function_name,
        ))
    }
}

fn frame(hasher: &mut blake3::Hasher, part: &[u8]) {
    hasher.update(&(part.len() as u64).to_le_bytes());
    hasher.update(part);
}
