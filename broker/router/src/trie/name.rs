//! The text of one node: kept in place when it is short, as levels of topics mostly are.

const SHORT_MAX: usize = 22;

/// A level of a filter, or a whole filter without wildcards.
#[derive(Clone)]
pub(super) enum Name {
    Short { length: u8, bytes: [u8; SHORT_MAX] },
    Long(Box<str>),
}

impl Name {
    pub(super) const EMPTY: Self = Self::Short { length: 0, bytes: [0; SHORT_MAX] };

    pub(super) fn new(text: &str) -> Self {
        if text.len() > SHORT_MAX {
            return Self::Long(text.into());
        }
        let mut bytes = [0; SHORT_MAX];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Self::Short { length: text.len() as u8, bytes }
    }

    #[inline]
    pub(super) fn is(&self, text: &str) -> bool {
        self.as_bytes() == text.as_bytes()
    }

    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Short { .. } => std::str::from_utf8(self.as_bytes()).expect("was made from a str"),
            Self::Long(text) => text,
        }
    }

    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Self::Short { .. } => 0,
            Self::Long(text) => text.len(),
        }
    }

    #[inline]
    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short { length, bytes } => &bytes[..usize::from(*length)],
            Self::Long(text) => text.as_bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_names_read_back() {
        assert_eq!(size_of::<Name>(), 24);
        for text in ["", "a", "Temperatur in °C", "exactly 22 bytes long.", "one more than 22 bytes.", &"ü".repeat(300)]
        {
            let name = Name::new(text);
            assert_eq!(name.as_str(), text);
            assert!(name.is(text) && !name.is("b"));
        }
        assert!(Name::EMPTY.is(""));
    }
}
