//! The protobuf wire format: tags and payloads, nothing about messages.

/// Bytes that break the wire format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A payload ends beyond the message.
    #[error("unexpected EOF")]
    End,
    /// A varint longer than ten bytes.
    #[error("integer overflow")]
    Overflow,
    /// A wire type this format does not use (groups, or nonsense).
    #[error("illegal wireType {0}")]
    WireType(u8),
    /// A payload of another wire type than the field's.
    #[error("wrong wireType for field")]
    Mismatch,
    /// A string that is not UTF-8.
    #[error("invalid UTF-8")]
    Utf8,
}

/// One field's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Payload<'a> {
    /// int32, int64, bool.
    Varint(u64),
    /// double.
    Fixed64(u64),
    /// Unused by Kubernetes; read to be skipped.
    Fixed32(u32),
    /// Strings, bytes, messages.
    Bytes(&'a [u8]),
}

impl<'a> Payload<'a> {
    pub(super) fn bytes(self) -> Result<&'a [u8], WireError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(WireError::Mismatch),
        }
    }

    pub(super) fn varint(self) -> Result<u64, WireError> {
        match self {
            Self::Varint(number) => Ok(number),
            _ => Err(WireError::Mismatch),
        }
    }

    pub(super) fn fixed64(self) -> Result<u64, WireError> {
        match self {
            Self::Fixed64(bits) => Ok(bits),
            _ => Err(WireError::Mismatch),
        }
    }
}

/// Iterates over a message's fields; ends after the first error.
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    fn read(&mut self) -> Result<(u32, Payload<'a>), WireError> {
        let key = varint(&mut self.rest)?;
        let tag = u32::try_from(key >> 3).map_err(|_| WireError::Overflow)?;
        let payload = match key & 7 {
            0 => Payload::Varint(varint(&mut self.rest)?),
            1 => Payload::Fixed64(u64::from_le_bytes(take(&mut self.rest)?)),
            2 => {
                let length = usize::try_from(varint(&mut self.rest)?).map_err(|_| WireError::End)?;
                let (bytes, rest) = self.rest.split_at_checked(length).ok_or(WireError::End)?;
                self.rest = rest;
                Payload::Bytes(bytes)
            }
            5 => Payload::Fixed32(u32::from_le_bytes(take(&mut self.rest)?)),
            // The mask leaves three bits.
            other => return Err(WireError::WireType(other.to_le_bytes()[0])),
        };
        Ok((tag, payload))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Payload<'a>), WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

/// The varints of a packed list.
pub(super) fn varints(mut packed: &[u8]) -> impl Iterator<Item = Result<u64, WireError>> {
    std::iter::from_fn(move || {
        if packed.is_empty() {
            return None;
        }
        let number = varint(&mut packed);
        if number.is_err() {
            packed = &[];
        }
        Some(number)
    })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], WireError> {
    let (head, tail) = rest.split_first_chunk::<N>().ok_or(WireError::End)?;
    *rest = tail;
    Ok(*head)
}

fn varint(rest: &mut &[u8]) -> Result<u64, WireError> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, tail) = rest.split_first().ok_or(WireError::End)?;
        *rest = tail;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(WireError::Overflow)
}
