//! Strings as values: short ones in place.

use std::fmt;
use std::ops::{Deref, DerefMut};

use super::raw::Thin;

/// Longest string that is held in place.
const SHORT: usize = 14;

/// A string value, 16 bytes of memory if it is short, and one allocation more if it is not.
pub struct Str(Repr);

enum Repr {
    Short { len: u8, bytes: [u8; SHORT] },
    Long(Thin),
}

impl Str {
    /// Adds `more` at the end.
    pub fn extend_from_slice(&mut self, more: &[u8]) {
        self.grow(more, 0);
    }

    /// Adds zeros at the end until it has `len` bytes; a longer one stays as it is.
    pub fn pad(&mut self, len: usize) {
        if len > self.len() {
            self.grow(b"", len);
        }
    }

    /// Its bytes.
    pub fn as_slice(&self) -> &[u8] {
        self
    }

    fn grow(&mut self, more: &[u8], len: usize) {
        let filled = self.len() + more.len();
        let total = len.max(filled);
        match &mut self.0 {
            Repr::Long(long) => long.grow(more, total),
            Repr::Short { len, bytes } if total <= SHORT => {
                bytes[usize::from(*len)..filled].copy_from_slice(more);
                // Bytes behind the end of a short string are 0, and it never becomes shorter.
                *len = total as u8;
            }
            Repr::Short { len, bytes } => {
                let mut long = Thin::new(&bytes[..usize::from(*len)], 0);
                long.grow(more, total);
                self.0 = Repr::Long(long);
            }
        }
    }

    /// Puts `bytes` in the place of what it holds, in the same memory if they fit.
    pub fn replace(&mut self, bytes: &[u8]) {
        if let Repr::Long(long) = &mut self.0
            && bytes.len() > SHORT
            && long.replace(bytes)
        {
            return;
        }
        *self = Str::from(bytes);
    }
}

impl Default for Str {
    fn default() -> Str {
        Str(Repr::Short { len: 0, bytes: [0; SHORT] })
    }
}

impl From<&[u8]> for Str {
    fn from(value: &[u8]) -> Str {
        if value.len() > SHORT {
            return Str(Repr::Long(Thin::new(value, 0)));
        }
        let mut bytes = [0; SHORT];
        bytes[..value.len()].copy_from_slice(value);
        Str(Repr::Short { len: value.len() as u8, bytes })
    }
}

impl From<Vec<u8>> for Str {
    fn from(value: Vec<u8>) -> Str {
        Str::from(value.as_slice())
    }
}

impl<const N: usize> From<&[u8; N]> for Str {
    fn from(value: &[u8; N]) -> Str {
        Str::from(value.as_slice())
    }
}

impl Deref for Str {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Repr::Short { len, bytes } => &bytes[..usize::from(*len)],
            Repr::Long(long) => long.as_slice(),
        }
    }
}

impl DerefMut for Str {
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.0 {
            Repr::Short { len, bytes } => &mut bytes[..usize::from(*len)],
            Repr::Long(long) => long.as_mut_slice(),
        }
    }
}

impl AsRef<[u8]> for Str {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Clone for Str {
    fn clone(&self) -> Str {
        Str::from(&**self)
    }
}

impl fmt::Debug for Str {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.escape_ascii())
    }
}

impl PartialEq for Str {
    fn eq(&self, other: &Str) -> bool {
        **self == **other
    }
}

impl Eq for Str {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Add(usize),
        Pad(usize),
        Replace(usize),
        Copy,
    }

    fn step() -> impl Strategy<Value = Step> {
        // Around the border between short and long, around size classes, and large.
        let len = prop_oneof![0..20usize, 20..600usize, Just(70_000usize)];
        prop_oneof![
            len.clone().prop_map(Step::Add),
            len.clone().prop_map(Step::Pad),
            len.prop_map(Step::Replace),
            Just(Step::Copy),
        ]
    }

    proptest! {
        #[test]
        fn it_holds_what_a_vector_holds(steps in prop::collection::vec(step(), 1..30)) {
            let (mut string, mut vector) = (Str::default(), Vec::new());
            for (n, step) in steps.into_iter().enumerate() {
                let bytes = |len: usize| -> Vec<u8> { (0..len).map(|i| (i * 7 + n) as u8).collect() };
                match step {
                    Step::Add(len) => {
                        string.extend_from_slice(&bytes(len));
                        vector.extend_from_slice(&bytes(len));
                    }
                    Step::Pad(len) => {
                        string.pad(len);
                        vector.resize(len.max(vector.len()), 0);
                    }
                    Step::Replace(len) => {
                        string.replace(&bytes(len));
                        vector = bytes(len);
                    }
                    Step::Copy => string = string.clone(),
                }
                if let Some(last) = string.last_mut() {
                    *last ^= 1;
                }
                if let Some(last) = vector.last_mut() {
                    *last ^= 1;
                }
                prop_assert_eq!(&*string, vector.as_slice());
                prop_assert_eq!(&Str::from(vector.clone()), &string);
            }
        }
    }
}
