//! Uploads in sessions: whole, in chunks, cut, cancelled.

use std::{io::Write as _, ops::RangeInclusive, sync::atomic::Ordering};

use rand::Rng;

use super::{Did, OCTETS, SMALL, Writer};
use crate::{
    crash::{
        content::{Content, LARGEST},
        model::Key,
        sessions::{Flight, Session, offset},
    },
    http::Answer,
};

/// Uploads in chunks that one writer has open at most.
const OPEN_SESSIONS: usize = 3;

impl Writer<'_> {
    pub(super) fn start(&mut self, content: Content) -> Did<Session> {
        let path = format!("/v2/{}/blobs/uploads/", self.repository);
        let answer = self.send("POST", &path, &[], b"")?;
        match (answer.status, answer.header("location")) {
            (202, Some(location)) => Ok(Session {
                repository: self.repository.clone(),
                path: location.to_owned(),
                content,
                digest: content.digest(),
                acknowledged: 0,
                may_reach: 0,
                flight: Flight::Nothing,
            }),
            _ => Err(self.fault(&path, &answer)),
        }
    }

    pub(super) fn push_monolithic(&mut self) -> Did {
        let content = self.content(SMALL);
        let session = self.start(content)?;
        self.complete(session, &content.bytes())
    }

    /// Ends an upload with its last bytes. Its session is gone, or in flight.
    pub(super) fn complete(&mut self, mut session: Session, last: &[u8]) -> Did {
        let path = format!("{}?digest={}", session.path, session.digest);
        let changes = vec![(Key::Blob(session.repository.clone(), session.digest), Some(session.digest))];
        let range = session.range(last.len());
        let headers =
            if last.is_empty() { &OCTETS[..] } else { &[OCTETS[0], ("Content-Range", range.as_str())][..] };
        let digest = session.digest;
        // The registry may record the last bytes before it ends the upload.
        session.may_reach = session.acknowledged + last.len();
        let done = self.change(changes, true, ("PUT", &path), headers, last);
        if done.is_err() {
            session.flight = Flight::Complete;
            self.sessions.push(session);
        }
        done?;
        self.blobs.push(digest);
        Ok(())
    }

    /// The next step of an upload in chunks, of a new one or of one begun before.
    pub(super) fn advance_upload(&mut self) -> Did {
        if self.sessions.len() < OPEN_SESSIONS && self.random.random_bool(0.5) {
            let number = self.stage.numbers.fetch_add(1, Ordering::Relaxed);
            let content = Content::new(number, self.random.random_range(1..=LARGEST));
            let session = self.start(content)?;
            self.sessions.push(session);
            return Ok(());
        }
        if self.sessions.is_empty() {
            return Ok(());
        }
        let chosen = self.random.random_range(0..self.sessions.len());
        let session = self.sessions.swap_remove(chosen);
        let length = session.left().min(self.random.random_range(1..=2 << 20));
        match self.random.random_range(0..100) {
            0..4 => self.cancel(session),
            4..14 if length > 1 => self.cut_append(session, length),
            14..50 if session.left() < 3 << 20 && session.may_reach == session.acknowledged => {
                let last = session.chunk(session.left());
                self.complete(session, &last)
            }
            _ if session.left() == 0 => self.complete(session, b""),
            _ => self.append(session, length),
        }
    }

    pub(super) fn append(&mut self, mut session: Session, length: usize) -> Did {
        let (range, chunk) = (session.range(length), session.chunk(length));
        let end = session.acknowledged + length;
        session.may_reach = session.may_reach.max(end);
        session.flight = Flight::Append;
        let answer = self.send("PATCH", &session.path, &[OCTETS[0], ("Content-Range", &range)], &chunk);
        match answer {
            Ok(answer) if answer.status == 202 => self.appended(session, &answer, end..=end),
            // An earlier chunk whose connection was cut has come in after all; the answer tells how far.
            Ok(answer) if answer.status == 416 => {
                let possible = session.acknowledged + 1..=session.may_reach;
                self.appended(session, &answer, possible)
            }
            Ok(answer) => Err(self.fault(&format!("a chunk of {session}"), &answer)),
            Err(ended) => {
                self.sessions.push(session);
                Err(ended)
            }
        }
    }

    /// Announces a chunk, sends a part of it, hangs up, and asks how far the server came.
    pub(super) fn cut_append(&mut self, mut session: Session, length: usize) -> Did {
        let (range, chunk) = (session.range(length), session.chunk(length));
        let part = self.random.random_range(0..length);
        session.may_reach = session.may_reach.max(session.acknowledged + part);
        session.flight = Flight::Append;
        let headers = [OCTETS[0], ("Content-Range", range.as_str())];
        let begun = self.stage.server.begin("PATCH", &session.path, &headers, length);
        let sent = begun.and_then(|mut stream| {
            stream.write_all(&chunk[..part])?;
            Ok(stream.shutdown(std::net::Shutdown::Both)?)
        });
        let answer = match sent {
            Ok(()) => self.send("GET", &session.path.clone(), &[], b""),
            Err(error) => Err(self.cut(&format!("PATCH {}: {error:#}", session.path))),
        };
        match answer {
            Ok(answer) if answer.status == 204 => {
                let (may_reach, possible) = (session.may_reach, session.acknowledged..=session.may_reach);
                self.appended(session, &answer, possible)?;
                // The question may have been faster than the chunk.
                if let Some(session) = self.sessions.last_mut() {
                    session.may_reach = may_reach;
                }
                Ok(())
            }
            Ok(answer) => Err(self.fault(&format!("the status of {session}"), &answer)),
            Err(ended) => {
                self.sessions.push(session);
                Err(ended)
            }
        }
    }

    /// Notes how far the server says that an upload is.
    pub(super) fn appended(
        &mut self,
        mut session: Session,
        answer: &Answer,
        possible: RangeInclusive<usize>,
    ) -> Did {
        match offset(answer) {
            Ok(offset) if possible.contains(&offset) => {
                session.acknowledged = offset;
                session.may_reach = offset;
                session.flight = Flight::Nothing;
                self.log.acknowledged += 1;
                self.sessions.push(session);
                Ok(())
            }
            _ => Err(self.fault(&format!("a chunk of {session}, which can have {possible:?} bytes"), answer)),
        }
    }

    pub(super) fn cancel(&mut self, mut session: Session) -> Did {
        session.flight = Flight::Cancel;
        self.log.refused.push(Key::Blob(session.repository.clone(), session.digest));
        let answer = self.send("DELETE", &session.path, &[], b"");
        match answer {
            Ok(answer) if answer.status == 204 => {
                self.log.acknowledged += 1;
                Ok(())
            }
            Ok(answer) => Err(self.fault(&format!("DELETE {}", session.path), &answer)),
            Err(ended) => {
                self.sessions.push(session);
                Err(ended)
            }
        }
    }
}
