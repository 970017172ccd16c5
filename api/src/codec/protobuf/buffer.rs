//! A buffer written from its end: a message is there before its length and tag, so nothing is measured
//! twice and nothing is moved. Lists and fields are therefore written last first.

/// Bytes, growing towards the front.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    /// Where the content begins.
    start: usize,
}

/// Wire types of a field's key.
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const LENGTH: u64 = 2;

impl Buffer {
    /// A buffer that holds so many bytes before it grows.
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self { bytes: vec![0; capacity], start: capacity }
    }

    /// How many bytes have been written: a mark for [`Self::close`].
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// The content; the buffer can be used again.
    pub(super) fn content(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    pub(super) fn into_vec(mut self) -> Vec<u8> {
        self.bytes.drain(..self.start);
        self.bytes
    }

    pub(super) fn clear(&mut self) {
        self.start = self.bytes.len();
    }

    /// Puts bytes in front.
    pub(super) fn raw(&mut self, bytes: &[u8]) {
        if bytes.len() > self.start {
            self.grow(bytes.len());
        }
        let end = self.start;
        self.start -= bytes.len();
        if let Some(place) = self.bytes.get_mut(self.start..end) {
            place.copy_from_slice(bytes);
        }
    }

    fn grow(&mut self, needed: usize) {
        let (used, old) = (self.len(), self.bytes.len());
        let size = (old * 2).max(used + needed).max(256);
        let mut bytes = vec![0; size];
        let start = size - used;
        if let (Some(to), Some(from)) = (bytes.get_mut(start..), self.bytes.get(self.start..)) {
            to.copy_from_slice(from);
        }
        (self.bytes, self.start) = (bytes, start);
    }

    pub(super) fn number(&mut self, mut number: u64) {
        let (mut digits, mut length) = ([0u8; 10], 0);
        for digit in &mut digits {
            // The mask leaves seven bits.
            *digit = (number & 0x7f).to_le_bytes()[0];
            number >>= 7;
            length += 1;
            if number == 0 {
                break;
            }
            *digit |= 0x80;
        }
        self.raw(digits.get(..length).unwrap_or_default());
    }

    /// A field that is a number; negative ones take ten bytes, as in every implementation.
    pub(super) fn integer(&mut self, tag: u16, number: i64) {
        self.number(number.cast_unsigned());
        self.number(u64::from(tag) << 3 | VARINT);
    }

    pub(super) fn double(&mut self, tag: u16, number: f64) {
        self.raw(&number.to_bits().to_le_bytes());
        self.number(u64::from(tag) << 3 | FIXED64);
    }

    pub(super) fn bytes(&mut self, tag: u16, bytes: &[u8]) {
        self.raw(bytes);
        self.header(tag, bytes.len());
    }

    /// Makes everything written since the mark a field.
    pub(super) fn close(&mut self, tag: u16, mark: usize) {
        self.header(tag, self.len() - mark);
    }

    /// What stands before a payload of so many bytes.
    pub(super) fn header(&mut self, tag: u16, length: usize) {
        self.number(u64::try_from(length).unwrap_or(u64::MAX));
        self.number(u64::from(tag) << 3 | LENGTH);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_towards_the_front() {
        let mut buffer = Buffer::default();
        for at in 0..100u8 {
            buffer.bytes(1, &[at; 7]);
        }
        let expect: Vec<u8> = (0..100u8).rev().flat_map(|at| [&[0x0a, 7][..], &[at; 7]].concat()).collect();
        assert_eq!(buffer.content(), expect);
        assert_eq!(buffer.into_vec(), expect);
        let mut buffer = Buffer::with_capacity(4);
        buffer.integer(2, -1);
        assert_eq!(buffer.content(), [0x10, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1]);
        buffer.clear();
        buffer.integer(16, 300);
        assert_eq!(buffer.content(), [0x80, 0x01, 0xac, 0x02]);
    }
}
