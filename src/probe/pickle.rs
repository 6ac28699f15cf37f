//! Python's pickles of protocols 2 to 5, as far as batches of CIFAR go.
//!
//! Each value is kept once, and named by its number: nothing that a file repeats or nests takes memory or stack.

use std::borrow::Cow;
use std::collections::BTreeMap;

/// A file's values, of which the last is the one that was pickled.
#[derive(Default)]
pub struct Pickle<'a> {
    values: Vec<Value<'a>>,
    root: usize,
}

enum Value<'a> {
    Number(i64),
    /// Bytes or text.
    Bytes(Cow<'a, [u8]>),
    /// A list or a tuple.
    Sequence(Vec<u32>),
    /// Keys, each before its value.
    Dictionary(Vec<u32>),
    /// An object, which is not built, and the state that it would be given.
    Object(u32),
    /// `_codecs.encode`: Python 3 writes bytes as text for Python 2.
    Encode,
    Other,
}

impl<'a> Pickle<'a> {
    /// `None` for a file that is damaged, or holds more than plain values and the states of objects.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut machine = Machine { rest: bytes, ..Machine::default() };
        machine.values.push(Value::Other);
        while machine.step()? {}
        let root = machine.stack.pop()? as usize;
        Some(Self { values: machine.values, root })
    }

    /// Sizes and bytes of the array of this name in the dictionary, if they are in C's order: its state is a version, the sizes, the
    /// type, whether they are in Fortran's order, and the bytes.
    pub fn array(&self, name: &str) -> Option<(Vec<i64>, &[u8])> {
        let Value::Object(state) = self.entry(name)? else { return None };
        let state: Vec<_> = self.sequence(&self.values[*state as usize])?.collect();
        match *state.as_slice() {
            [_, sizes, _, Value::Other, Value::Bytes(bytes)] => Some((self.all_numbers(sizes)?, &**bytes)),
            _ => None,
        }
    }

    /// The list of numbers of this name in the dictionary.
    pub fn numbers(&self, name: &str) -> Option<Vec<i64>> {
        self.all_numbers(self.entry(name)?)
    }

    fn all_numbers(&self, value: &Value) -> Option<Vec<i64>> {
        let number = |value: &Value| if let Value::Number(number) = value { Some(*number) } else { None };
        self.sequence(value)?.map(number).collect()
    }

    fn entry(&self, name: &str) -> Option<&Value<'a>> {
        let Value::Dictionary(pairs) = &self.values[self.root] else { return None };
        let is_named =
            |key: u32| matches!(&self.values[key as usize], Value::Bytes(bytes) if **bytes == *name.as_bytes());
        let pair = pairs.chunks_exact(2).rfind(|pair| is_named(pair[0]))?;
        Some(&self.values[pair[1] as usize])
    }

    fn sequence<'s>(&'s self, value: &'s Value) -> Option<impl Iterator<Item = &'s Value<'a>>> {
        let Value::Sequence(places) = value else { return None };
        Some(places.iter().map(|place| &self.values[*place as usize]))
    }
}

/// Number of the value that stands for all that are not needed.
const OTHER: u32 = 0;

#[derive(Default)]
struct Machine<'a> {
    rest: &'a [u8],
    values: Vec<Value<'a>>,
    stack: Vec<u32>,
    marks: Vec<usize>,
    memo: BTreeMap<u32, u32>,
}

impl<'a> Machine<'a> {
    /// Does what the next opcode says; false at the end. Their names are those of Python's `pickletools`.
    fn step(&mut self) -> Option<bool> {
        match self.number(1)? {
            // STOP
            0x2e => return Some(false),
            // PROTO, FRAME
            0x80 => self.skip(1)?,
            0x95 => self.skip(8)?,
            // MARK, POP, POP_MARK, DUP
            0x28 => self.marks.push(self.stack.len()),
            0x30 => drop(self.last(1)?),
            0x31 => drop(self.since_mark()?),
            0x32 => self.stack.push(*self.stack.last()?),
            // NONE, NEWFALSE, NEWTRUE, BINFLOAT
            0x4e | 0x89 => self.stack.push(OTHER),
            0x88 => self.add(Value::Number(1)),
            0x47 => self.skip(8).map(|()| self.stack.push(OTHER))?,
            // BININT1, BININT2, BININT, LONG1
            0x4b => self.integer(1)?,
            0x4d => self.integer(2)?,
            0x4a => self.signed(4)?,
            0x8a => self.long()?,
            // SHORT_BINSTRING, SHORT_BINBYTES, SHORT_BINUNICODE
            0x55 | 0x43 | 0x8c => self.bytes(1)?,
            // BINSTRING, BINBYTES, BINUNICODE
            0x54 | 0x42 | 0x58 => self.bytes(4)?,
            // BINBYTES8, BINUNICODE8, BYTEARRAY8
            0x8e | 0x8d | 0x96 => self.bytes(8)?,
            // EMPTY_LIST, EMPTY_TUPLE, EMPTY_DICT
            0x5d | 0x29 => self.add(Value::Sequence(Vec::new())),
            0x7d => self.add(Value::Dictionary(Vec::new())),
            // APPEND, SETITEM, APPENDS, SETITEMS
            0x61 => self.last(1).and_then(|items| self.extend(items))?,
            0x73 => self.last(2).and_then(|items| self.extend(items))?,
            0x65 | 0x75 => self.since_mark().and_then(|items| self.extend(items))?,
            // TUPLE, LIST, TUPLE1, TUPLE2, TUPLE3
            0x74 | 0x6c => self.since_mark().map(|items| self.add(Value::Sequence(items)))?,
            count @ 0x85..=0x87 => self.last(count as usize - 0x84).map(|items| self.add(Value::Sequence(items)))?,
            // BINPUT, LONG_BINPUT, MEMOIZE, BINGET, LONG_BINGET
            0x71 => self.number(1).and_then(|key| self.put(key))?,
            0x72 => self.number(4).and_then(|key| self.put(key))?,
            0x94 => self.put(self.memo.len() as u64)?,
            0x68 => self.number(1).and_then(|key| self.get(key))?,
            0x6a => self.number(4).and_then(|key| self.get(key))?,
            // GLOBAL, STACK_GLOBAL, REDUCE, NEWOBJ, BUILD
            0x63 => self.global()?,
            0x93 => self.stack_global()?,
            0x52 | 0x81 => self.call()?,
            0x62 => self.build()?,
            _ => return None,
        }
        Some(true)
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    fn skip(&mut self, count: usize) -> Option<()> {
        self.take(count).map(|_| ())
    }

    fn line(&mut self) -> Option<&'a [u8]> {
        let end = self.rest.iter().position(|byte| *byte == b'\n')?;
        let line = self.take(end)?;
        self.skip(1)?;
        Some(line)
    }

    /// Little-endian, of 8 bytes at most.
    fn number(&mut self, bytes: usize) -> Option<u64> {
        Some(self.take(bytes)?.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn add(&mut self, value: Value<'a>) {
        self.stack.push(self.values.len() as u32);
        self.values.push(value);
    }

    fn integer(&mut self, bytes: usize) -> Option<()> {
        let number = self.number(bytes)?;
        self.add(Value::Number(number as i64));
        Some(())
    }

    fn signed(&mut self, bytes: usize) -> Option<()> {
        let unused = 64 - 8 * bytes as u32;
        let number = (self.number(bytes)? << unused) as i64 >> unused;
        self.add(Value::Number(number));
        Some(())
    }

    fn long(&mut self) -> Option<()> {
        match self.number(1)? as usize {
            0 => self.add(Value::Number(0)),
            bytes @ 1..=8 => self.signed(bytes)?,
            bytes => self.skip(bytes).map(|()| self.stack.push(OTHER))?,
        }
        Some(())
    }

    fn bytes(&mut self, length: usize) -> Option<()> {
        let length = usize::try_from(self.number(length)?).ok()?;
        let bytes = self.take(length)?;
        self.add(Value::Bytes(Cow::Borrowed(bytes)));
        Some(())
    }

    fn last(&mut self, count: usize) -> Option<Vec<u32>> {
        let start = self.stack.len().checked_sub(count)?;
        Some(self.stack.split_off(start))
    }

    fn since_mark(&mut self) -> Option<Vec<u32>> {
        let mark = self.marks.pop()?;
        self.last(self.stack.len().checked_sub(mark)?)
    }

    fn extend(&mut self, items: Vec<u32>) -> Option<()> {
        let place = *self.stack.last()? as usize;
        match &mut self.values[place] {
            Value::Sequence(values) => values.extend(items),
            Value::Dictionary(pairs) if items.len().is_multiple_of(2) => pairs.extend(items),
            _ => return None,
        }
        Some(())
    }

    fn put(&mut self, key: u64) -> Option<()> {
        self.memo.insert(key as u32, *self.stack.last()?);
        Some(())
    }

    fn get(&mut self, key: u64) -> Option<()> {
        self.stack.push(*self.memo.get(&(key as u32))?);
        Some(())
    }

    fn global(&mut self) -> Option<()> {
        let names = (self.line()?, self.line()?);
        self.add_global(names == (&b"_codecs"[..], &b"encode"[..]));
        Some(())
    }

    fn stack_global(&mut self) -> Option<()> {
        let names = self.last(2)?;
        let is =
            |place: u32, name: &[u8]| matches!(&self.values[place as usize], Value::Bytes(bytes) if **bytes == *name);
        let is_encode = is(names[0], b"_codecs") && is(names[1], b"encode");
        self.add_global(is_encode);
        Some(())
    }

    fn add_global(&mut self, is_encode: bool) {
        if is_encode { self.add(Value::Encode) } else { self.stack.push(OTHER) }
    }

    fn call(&mut self) -> Option<()> {
        let [callable, arguments] = <[u32; 2]>::try_from(self.last(2)?).ok()?;
        let value = if matches!(self.values[callable as usize], Value::Encode) {
            let Value::Sequence(arguments) = &self.values[arguments as usize] else { return None };
            let Value::Bytes(text) = &self.values[*arguments.first()? as usize] else { return None };
            let latin = std::str::from_utf8(text).ok()?.chars().map(|c| u8::try_from(c).ok());
            Value::Bytes(Cow::Owned(latin.collect::<Option<_>>()?))
        } else {
            Value::Object(OTHER)
        };
        self.add(value);
        Some(())
    }

    fn build(&mut self) -> Option<()> {
        let state = self.stack.pop()?;
        let place = *self.stack.last()? as usize;
        let Value::Object(old) = &mut self.values[place] else { return None };
        *old = state;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shared_or_nested_is_kept_once() {
        let shared = b"\x80\x02}(U\x01aK\x07U\x01b](K\x01J\xff\xff\xff\xffM\x00\x01\x8a\x01\x80eq\x00U\x01bh\x00u.";
        assert_eq!(Pickle::parse(shared).expect("whole").numbers("b"), Some(vec![1, -1, 256, -128]));
        let nested = [&b"\x80\x02"[..], &b"]".repeat(100_000), &b"a".repeat(99_999), b"."].concat();
        assert!(Pickle::parse(&nested).expect("whole").numbers("b").is_none());
        assert!((0..shared.len()).all(|length| Pickle::parse(&shared[..length]).is_none()));
    }
}
