//! Thrift's compact protocol, as far as it takes to see what a Parquet table claims before its library believes it.

/// A value; texts and doubles are passed over.
pub enum Value {
    Number(i64),
    List(Vec<Value>),
    Struct(Vec<(i16, Value)>),
    Other,
}

/// Structures within structures, far beyond what Parquet has.
const DEEPEST: usize = 16;

impl Value {
    /// The structure at the start of `bytes`; `None` where it is damaged, or holds what Parquet does not.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        Reader(bytes).structure(DEEPEST)
    }

    /// The fields of this number, of which an honest writer makes one at most.
    pub fn fields(&self, number: i16) -> impl Iterator<Item = &Self> {
        let fields = if let Self::Struct(fields) = self { fields.as_slice() } else { &[] };
        fields.iter().filter(move |(found, _)| *found == number).map(|(_, value)| value)
    }

    /// The numbers in the fields of this number.
    pub fn numbers(&self, number: i16) -> impl Iterator<Item = i64> {
        self.fields(number).filter_map(|value| if let Self::Number(value) = value { Some(*value) } else { None })
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn structure(&mut self, depth: usize) -> Option<Value> {
        let depth = depth.checked_sub(1)?;
        let (mut fields, mut last) = (Vec::new(), 0_i16);
        loop {
            let head = self.byte()?;
            let (step, kind) = (head >> 4, head & 0x0f);
            if kind == 0 {
                return Some(Value::Struct(fields));
            }
            last = match step {
                0 => i16::try_from(self.signed()?).ok()?,
                step => last.checked_add(i16::from(step))?,
            };
            let value = match kind {
                1 | 2 => Value::Other,
                _ => self.value(kind, depth)?,
            };
            fields.push((last, value));
        }
    }

    fn value(&mut self, kind: u8, depth: usize) -> Option<Value> {
        Some(match kind {
            3 => self.take(1).map(|_| Value::Other)?,
            4..=6 => Value::Number(self.signed()?),
            7 => self.take(8).map(|_| Value::Other)?,
            8 => {
                let length = usize::try_from(self.varint()?).ok()?;
                self.take(length).map(|_| Value::Other)?
            }
            9 => self.list(depth)?,
            12 => self.structure(depth)?,
            // Booleans in lists, sets and maps: readers differ in how they take them, and Parquet has none here.
            _ => return None,
        })
    }

    fn list(&mut self, depth: usize) -> Option<Value> {
        let depth = depth.checked_sub(1)?;
        let head = self.byte()?;
        let count = match head >> 4 {
            15 => self.varint()?,
            count => u64::from(count),
        };
        // Grows as items come: each takes a byte at least.
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(self.value(head & 0x0f, depth)?);
        }
        Some(Value::List(items))
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|byte| byte[0])
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn signed(&mut self) -> Option<i64> {
        let number = self.varint()?;
        Some((number >> 1) as i64 ^ -((number & 1) as i64))
    }
}
