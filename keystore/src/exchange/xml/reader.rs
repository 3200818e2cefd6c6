//! Walks through the elements of a file in the order that the schema says; whatever else comes is refused.

use crate::check::CheckId;
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::MAX_OCTETS;
use crate::exchange::bind::BindSyntaxError;

/// Most attributes of an element; `KSR` has three.
const MAX_ATTRIBUTES: usize = 4;
/// Longest value of an attribute, in octets.
const MAX_VALUE: usize = 255;

/// The IDs of errors, for requests and responses.
pub(super) struct Ids {
    pub syntax: CheckId,
    pub truncated: CheckId,
    pub limits: CheckId,
    pub wrong_type: CheckId,
    pub ttl: CheckId,
    pub wrong_zone: CheckId,
    pub key: CheckId,
}

pub(super) static KSR: Ids = Ids {
    syntax: CheckId::KsrSyntax,
    truncated: CheckId::KsrTruncated,
    limits: CheckId::KsrLimits,
    wrong_type: CheckId::KsrType,
    ttl: CheckId::KsrTtl,
    wrong_zone: CheckId::KsrWrongZone,
    key: CheckId::KsrKey,
};

pub(super) static SKR: Ids = Ids {
    syntax: CheckId::SkrSyntax,
    truncated: CheckId::SkrTruncated,
    limits: CheckId::SkrLimits,
    wrong_type: CheckId::SkrType,
    ttl: CheckId::SkrTtl,
    wrong_zone: CheckId::SkrWrongZone,
    key: CheckId::SkrKey,
};

/// The place in the file. Between elements blanks and comments are read over. There are no entities, CDATA sections,
/// processing instructions and document types, so nothing expands, and nothing means more than it says.
pub(super) struct Cursor<'a> {
    text: &'a str,
    reader: Reader<&'a [u8]>,
    ahead: Option<Node<'a>>,
    pub ids: &'static Ids,
    /// Line of what comes next, and the octets counted for it.
    line: u32,
    counted: usize,
    depth: usize,
}

enum Node<'a> {
    Open(BytesStart<'a>),
    Close,
    End,
}

/// The attributes of an element.
pub(super) struct Attributes {
    values: Vec<(String, String)>,
    element: &'static str,
    pub line: u32,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(octets: &'a [u8], ids: &'static Ids) -> Result<Self, BindSyntaxError> {
        let error = |id, what: String| BindSyntaxError { id, line: 1, what };
        if octets.len() > MAX_OCTETS {
            return Err(error(ids.limits, format!("{} octets; the limit is {MAX_OCTETS}", octets.len())));
        }
        if octets.starts_with(b"\xef\xbb\xbf") {
            let what = "the file starts with a byte order mark; save it as plain text without one";
            return Err(error(ids.syntax, what.to_owned()));
        }
        let text = std::str::from_utf8(octets)
            .map_err(|_| error(ids.syntax, "octets that are not UTF-8: it is damaged".to_owned()))?;
        let mut reader = Reader::from_str(text);
        let config = reader.config_mut();
        config.expand_empty_elements = true;
        config.check_end_names = true;
        config.check_comments = true;
        let mut cursor = Self { text, reader, ahead: None, ids, line: 1, counted: 0, depth: 0 };
        if let Some(at) = text.find(|c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r')) {
            cursor.count(at);
            return Err(cursor.fault("a control character: it is damaged"));
        }
        cursor.declaration()?;
        Ok(cursor)
    }

    /// Reads `<?xml version="1.0" encoding="UTF-8"?>` where it stands at the very start.
    fn declaration(&mut self) -> Result<(), BindSyntaxError> {
        if !self.text.starts_with("<?xml") {
            return Ok(());
        }
        let Event::Decl(declaration) = self.event()? else {
            return Err(self.fault("the XML declaration does not read"));
        };
        if !declaration.version().is_ok_and(|v| &*v == "1.0") {
            return Err(self.fault("the XML version is not 1.0"));
        }
        match declaration.encoding() {
            None => Ok(()),
            Some(Ok(encoding)) if encoding.eq_ignore_ascii_case("UTF-8") => Ok(()),
            Some(_) => Err(self.fault("the encoding is not UTF-8")),
        }
    }

    /// An error at the current line.
    pub(super) fn fault(&self, what: impl Into<String>) -> BindSyntaxError {
        BindSyntaxError { id: self.ids.syntax, line: self.line, what: what.into() }
    }

    fn count(&mut self, to: usize) {
        let passed = self.text.as_bytes().get(self.counted..to).unwrap_or_default();
        let lines = passed.iter().filter(|b| **b == b'\n').count();
        self.line = self.line.saturating_add(u32::try_from(lines).unwrap_or(u32::MAX));
        self.counted = self.counted.max(to);
    }

    /// The next event, whose line becomes the current one.
    fn event(&mut self) -> Result<Event<'a>, BindSyntaxError> {
        self.count(position(self.reader.buffer_position()));
        match self.reader.read_event() {
            Ok(Event::Eof) if self.depth > 0 => Err(BindSyntaxError {
                id: self.ids.truncated,
                line: self.line,
                what: "the file ends before its last element is closed: it is cut off".to_owned(),
            }),
            Ok(event) => Ok(event),
            Err(quick_xml::Error::Syntax(error)) => Err(BindSyntaxError {
                id: self.ids.truncated,
                line: self.line,
                what: format!("the file ends in the middle of something: {error}"),
            }),
            Err(error) => {
                let what: String = error.to_string().chars().take(200).collect();
                Err(self.fault(what))
            }
        }
    }

    fn refuse(&self, what: &str) -> BindSyntaxError {
        self.fault(format!("{what}, which has no place here"))
    }

    /// Takes the next start or end of an element, or the end of the file.
    fn next(&mut self) -> Result<Node<'a>, BindSyntaxError> {
        if let Some(node) = self.ahead.take() {
            return Ok(node);
        }
        loop {
            match self.event()? {
                Event::Start(start) => {
                    self.depth += 1;
                    return Ok(Node::Open(start));
                }
                Event::End(_) => {
                    self.depth = self.depth.saturating_sub(1);
                    return Ok(Node::Close);
                }
                Event::Eof => return Ok(Node::End),
                Event::Text(text) if text.bytes().all(|b| b.is_ascii_whitespace()) => {}
                Event::Comment(_) => {}
                Event::Text(_) => return Err(self.refuse("text between elements")),
                other => return Err(self.refuse(kind(&other))),
            }
        }
    }

    /// True when an element of this name comes next.
    pub(super) fn is_at(&mut self, name: &str) -> Result<bool, BindSyntaxError> {
        let node = self.next()?;
        let found = matches!(&node, Node::Open(start) if start.name().as_ref() == name);
        self.ahead = Some(node);
        Ok(found)
    }

    /// Opens the element that must come next; `known` are the attributes that it may have.
    pub(super) fn open(&mut self, name: &'static str, known: &[&str]) -> Result<Attributes, BindSyntaxError> {
        match self.next()? {
            Node::Open(start) if start.name().as_ref() == name => self.attributes(&start, name, known),
            Node::Open(start) => {
                let found: String = start.name().as_ref().chars().take(40).collect();
                Err(self.fault(format!("<{found}>, where <{name}> was expected")))
            }
            Node::Close => Err(self.fault(format!("the element ends where <{name}> was expected"))),
            Node::End => Err(self.fault(format!("there is no <{name}>"))),
        }
    }

    fn attributes(
        &self,
        start: &BytesStart<'_>,
        element: &'static str,
        known: &[&str],
    ) -> Result<Attributes, BindSyntaxError> {
        let mut values: Vec<(String, String)> = Vec::new();
        // Its own check for duplicates would compare each with each, however many there are.
        for attribute in start.attributes().with_checks(false) {
            let attribute = attribute.map_err(|e| self.fault(format!("an attribute of <{element}>: {e}")))?;
            let name: String = attribute.key.as_ref().chars().take(40).collect();
            if values.len() >= MAX_ATTRIBUTES || attribute.value.len() > MAX_VALUE {
                let what = format!("<{element}> has too many attributes, or too long ones");
                return Err(BindSyntaxError { id: self.ids.limits, line: self.line, what });
            }
            if !known.contains(&name.as_str()) {
                return Err(self.fault(format!("<{element}> has no attribute `{name}`")));
            }
            if values.iter().any(|(n, _)| *n == name) {
                return Err(self.fault(format!("attribute `{name}` of <{element}> stands twice")));
            }
            let value = attribute.value.to_string();
            if value.contains(['&', '<', '\t', '\n', '\r']) {
                let what = format!("attribute `{name}` of <{element}> has an escape or a line end");
                return Err(self.fault(what));
            }
            values.push((name, value));
        }
        Ok(Attributes { values, element, line: self.line })
    }

    /// Closes the element that is open.
    pub(super) fn close(&mut self) -> Result<(), BindSyntaxError> {
        match self.next()? {
            Node::Close => Ok(()),
            Node::Open(start) => {
                let found: String = start.name().as_ref().chars().take(40).collect();
                Err(self.fault(format!("<{found}>, where the element should end")))
            }
            Node::End => Err(self.fault("the file ends here")),
        }
    }

    /// The text of the element that must come next, without blanks around it. Only text may be in it.
    pub(super) fn data(&mut self, name: &'static str) -> Result<String, BindSyntaxError> {
        self.open(name, &[])?;
        let mut text = String::new();
        loop {
            match self.event()? {
                Event::End(_) => {
                    self.depth = self.depth.saturating_sub(1);
                    return Ok(text.trim_matches([' ', '\t', '\n', '\r']).to_owned());
                }
                Event::Text(part) => text.push_str(&part),
                other => return Err(self.refuse(&format!("{} in <{name}>", kind(&other)))),
            }
        }
    }

    /// The text of an element, read by `read`.
    pub(super) fn value<T>(
        &mut self,
        name: &'static str,
        expected: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, BindSyntaxError> {
        let text = self.data(name)?;
        read(&text).ok_or_else(|| {
            let shown: String = text.chars().take(40).collect();
            self.fault(format!("<{name}> is `{shown}`; {expected} was expected"))
        })
    }

    /// Nothing but blanks and comments may follow.
    pub(super) fn end(&mut self) -> Result<(), BindSyntaxError> {
        match self.next()? {
            Node::End => Ok(()),
            _ => Err(self.fault("something follows the end of <KSR>: are these two files in one?")),
        }
    }
}

impl Attributes {
    /// The value of an attribute that may be missing.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.values.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The value of an attribute that must be there, read by `read`.
    pub(super) fn read<T>(
        &self,
        ids: &Ids,
        name: &str,
        expected: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, BindSyntaxError> {
        let fault = |what| BindSyntaxError { id: ids.syntax, line: self.line, what };
        let element = self.element;
        let value =
            self.get(name).ok_or_else(|| fault(format!("<{element}> lacks the attribute `{name}`")))?;
        read(value).ok_or_else(|| {
            let shown: String = value.chars().take(40).collect();
            fault(format!("attribute `{name}` of <{element}> is `{shown}`; {expected} was expected"))
        })
    }
}

fn position(at: u64) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

fn kind(event: &Event<'_>) -> &'static str {
    match event {
        Event::Start(_) | Event::Empty(_) => "an element",
        Event::End(_) => "the end of an element",
        Event::Text(_) => "text",
        Event::CData(_) => "a CDATA section",
        Event::Comment(_) => "a comment",
        Event::Decl(_) => "an XML declaration that is not at the start",
        Event::PI(_) => "a processing instruction",
        Event::DocType(_) => "a document type",
        Event::GeneralRef(_) => "an entity or character reference",
        Event::Eof => "the end of the file",
    }
}
