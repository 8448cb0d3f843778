//! Checks passwords: off the workers, at most two hashes at once, in the same time whether the account exists
//! or not, and slower for those who guess. A password that was right is remembered for a short while, so that
//! clients which send it with every request pay once.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use aws_lc_rs::{digest, hmac};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task, time,
};

use crate::{
    AuthError, PasswordHash, Secret, password_hash::LONGEST_PASSWORD, recent::Recent, throttle::Throttle,
};

/// Hashes computed at once. Each takes 9 MiB and a core for tens of milliseconds: more at once would let a
/// burst of logins take the machine from pushes and pulls. The others wait their turn.
const HASHES_AT_ONCE: usize = 2;

/// How long a right password is remembered. Long enough for one `docker build` or one import, short enough
/// that a removed right ends soon; a changed password ends it at once.
const REMEMBERED_FOR: Duration = Duration::from_mins(1);

/// Most right passwords remembered: one for each client active within the minute. 100 bytes each.
const MOST_REMEMBERED: usize = 1024;

/// Least time a refusal takes. Our own hashes cost the same for a wrong password as for an unknown account; a
/// bcrypt hash from a file costs what its author chose. This hides the difference up to bcrypt cost 11.
const REFUSAL_TAKES: Duration = Duration::from_millis(250);

/// Why somebody is not logged in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// The same for an unknown account.
    #[error("the name or the password is wrong")]
    Wrong,
    /// To be answered with 429 and `Retry-After`; the password was not looked at.
    #[error("too many failed logins: try again in {} s", retry_after.as_secs() + 1)]
    Slowed { retry_after: Duration },
    #[error("the password could not be checked: the registry is being stopped")]
    Stopping,
}

type Mark = [u8; digest::SHA256_OUTPUT_LEN];

#[derive(Debug)]
struct Inner {
    turns: Arc<Semaphore>,
    /// Random and never stored: what is remembered is worthless outside this process.
    key: hmac::Key,
    right: Mutex<Recent<Mark, Instant>>,
    throttle: Throttle,
}

/// Hashes and checks passwords. Cloning is cheap and shares everything.
#[derive(Debug, Clone)]
pub struct Logins(Arc<Inner>);

/// Somebody who says to be `name`.
struct Attempt {
    address: IpAddr,
    name: String,
    password: Secret,
    /// That no password has, where there is no such account.
    hash: PasswordHash,
    exists: bool,
}

impl Logins {
    pub fn new() -> Result<Self, AuthError> {
        let mut random = [0_u8; digest::SHA256_OUTPUT_LEN];
        aws_lc_rs::rand::fill(&mut random)
            .map_err(|_| AuthError::Cryptography { doing: "no random bytes could be had" })?;
        Ok(Self(Arc::new(Inner {
            turns: Arc::new(Semaphore::new(HASHES_AT_ONCE)),
            key: hmac::Key::new(hmac::HMAC_SHA256, &random),
            right: Mutex::new(Recent::new(MOST_REMEMBERED)),
            throttle: Throttle::default(),
        })))
    }

    /// The hash to store for `password`.
    pub async fn hash(&self, password: &Secret) -> Result<PasswordHash, AuthError> {
        let stopping = || AuthError::Cryptography { doing: "the registry is being stopped" };
        let turn = self.turn().await.ok_or_else(stopping)?;
        let password = password.clone();
        let hashed = task::spawn_blocking(move || {
            let _turn = turn;
            PasswordHash::of_blocking(&password)
        });
        hashed.await.map_err(|_| stopping())?
    }

    /// Checks that `password` is that of the account `name`, for a client at `address`. `stored` is the hash
    /// of the account; `None` when there is none of this name, which takes the same time and is never right.
    pub async fn verify(
        &self,
        address: IpAddr,
        name: &str,
        password: &Secret,
        stored: Option<&PasswordHash>,
    ) -> Result<(), LoginError> {
        let hash = stored.cloned().unwrap_or_else(PasswordHash::nobodys);
        let password = password.clone();
        let attempt = Attempt { address, name: name.to_owned(), password, hash, exists: stored.is_some() };
        // First of all, or what is remembered could be guessed at without a limit.
        self.0.admit(&attempt)?;
        if self.0.remembers(&attempt, Instant::now()) {
            return Ok(());
        }
        let turn = self.turn().await.ok_or(LoginError::Stopping)?;
        // Again, as many may have failed while this one waited: a burst of guesses counts like a sequence.
        self.0.admit(&attempt)?;
        let started = time::Instant::now();
        let inner = Arc::clone(&self.0);
        // The work ends and counts even if the client hangs up, and keeps its turn until then.
        let work = task::spawn_blocking(move || {
            let _turn = turn;
            let right = attempt.is_right_blocking();
            inner.note(&attempt, right, Instant::now());
            right
        });
        if work.await.map_err(|_| LoginError::Stopping)? {
            return Ok(());
        }
        time::sleep_until(started + REFUSAL_TAKES).await;
        Err(LoginError::Wrong)
    }

    async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0.turns).acquire_owned().await.ok()
    }
}

impl Attempt {
    fn is_right_blocking(&self) -> bool {
        // No hash is of a longer password, and the time for a shorter one must be spent.
        if self.password.expose().len() > LONGEST_PASSWORD {
            let _ = self.hash.verifies_blocking(&Secret::new(""));
            return false;
        }
        self.hash.verifies_blocking(&self.password) && self.exists
    }
}

impl Inner {
    fn admit(&self, attempt: &Attempt) -> Result<(), LoginError> {
        let admitted = self.throttle.check(attempt.address, &attempt.name, Instant::now());
        admitted.map_err(|retry_after| LoginError::Slowed { retry_after })
    }

    fn note(&self, attempt: &Attempt, right: bool, now: Instant) {
        if right {
            let (mark, until) = (self.mark(attempt), now + REMEMBERED_FOR);
            self.right.lock().unwrap_or_else(PoisonError::into_inner).insert(mark, until);
            self.throttle.succeeded(attempt.address, &attempt.name, now);
        } else {
            self.throttle.failed(attempt.address, &attempt.name, now);
        }
    }

    fn remembers(&self, attempt: &Attempt, now: Instant) -> bool {
        if !attempt.exists {
            return false;
        }
        let mark = self.mark(attempt);
        let mut right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
        match right.get_mut(&mark) {
            Some(until) if now < *until => true,
            Some(_) => {
                right.remove(&mark);
                false
            }
            None => false,
        }
    }

    /// A keyed hash of the name, its stored hash and the password, each with its length before it: another
    /// password, or a changed one, has another mark.
    fn mark(&self, attempt: &Attempt) -> Mark {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [attempt.name.as_str(), attempt.hash.as_str(), attempt.password.expose()] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        let mut mark = [0; digest::SHA256_OUTPUT_LEN];
        mark.copy_from_slice(context.sign().as_ref());
        mark
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    async fn login(logins: &Logins, password: &str, stored: Option<&PasswordHash>) -> Result<(), LoginError> {
        logins.verify(HOME, "root", &Secret::new(password), stored).await
    }

    fn attempt(name: &str, password: &str, stored: Option<&PasswordHash>) -> Attempt {
        Attempt {
            address: HOME,
            name: name.to_owned(),
            password: Secret::new(password),
            hash: stored.cloned().unwrap_or_else(PasswordHash::nobodys),
            exists: stored.is_some(),
        }
    }

    #[tokio::test]
    async fn only_the_right_password_of_an_account_is_right() {
        let logins = Logins::new().unwrap();
        let stored = logins.hash(&Secret::new("right")).await.unwrap();
        assert_eq!(login(&logins, "right", Some(&stored)).await, Ok(()));
        assert_eq!(login(&logins, "wrong", Some(&stored)).await, Err(LoginError::Wrong));
        assert_eq!(login(&logins, "right", None).await, Err(LoginError::Wrong));
        assert_eq!(login(&logins, "", None).await, Err(LoginError::Wrong));
        let long = "right".repeat(LONGEST_PASSWORD);
        assert_eq!(login(&logins, &long, Some(&stored)).await, Err(LoginError::Wrong));
    }

    #[tokio::test]
    async fn a_right_password_is_remembered_until_its_time_is_up_or_it_is_changed() {
        let logins = Logins::new().unwrap();
        let stored = logins.hash(&Secret::new("right")).await.unwrap();
        let right = attempt("root", "right", Some(&stored));
        assert!(!logins.0.remembers(&right, Instant::now()));
        assert_eq!(login(&logins, "right", Some(&stored)).await, Ok(()));
        let started = Instant::now();
        for _ in 0..1000 {
            assert_eq!(login(&logins, "right", Some(&stored)).await, Ok(()));
        }
        assert!(started.elapsed() < Duration::from_secs(2), "the password was hashed each time");

        let changed = logins.hash(&Secret::new("new")).await.unwrap();
        assert_eq!(login(&logins, "right", Some(&changed)).await, Err(LoginError::Wrong));
        assert_eq!(
            login(&logins, "right", None).await,
            Err(LoginError::Wrong),
            "a removed account was let in"
        );
        assert!(!logins.0.remembers(&attempt("other", "right", Some(&stored)), Instant::now()));
        assert!(!logins.0.remembers(&right, Instant::now() + REMEMBERED_FOR));
    }

    #[tokio::test]
    async fn refusals_are_not_remembered_and_take_the_least_time() {
        let logins = Logins::new().unwrap();
        let quick = bcrypt::hash("right", 4).unwrap().parse::<PasswordHash>().unwrap();
        for stored in [Some(&quick), None] {
            let started = Instant::now();
            assert_eq!(login(&logins, "wrong", stored).await, Err(LoginError::Wrong));
            assert!(started.elapsed() >= REFUSAL_TAKES, "{stored:?} was refused sooner");
        }
        assert_eq!(logins.0.right.lock().unwrap().len(), 0);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_burst_of_guesses_is_slowed_like_a_sequence() {
        let logins = Logins::new().unwrap();
        let stored = logins.hash(&Secret::new("right")).await.unwrap();
        let guesses: Vec<_> = (0..40)
            .map(|number| {
                let (logins, stored) = (logins.clone(), stored.clone());
                tokio::spawn(async move { login(&logins, &format!("guess{number}"), Some(&stored)).await })
            })
            .collect();
        let mut looked_at = 0;
        for guess in guesses {
            match guess.await.unwrap() {
                Err(LoginError::Wrong) => looked_at += 1,
                Err(LoginError::Slowed { .. }) => {}
                other => panic!("{other:?}"),
            }
        }
        // Five free ones, the sixth that starts the wait, and one beside it.
        assert!((6..=7).contains(&looked_at), "{looked_at} guesses were looked at");
        assert!(matches!(login(&logins, "right", Some(&stored)).await, Err(LoginError::Slowed { .. })));
    }

    #[tokio::test]
    async fn a_remembered_password_cannot_be_guessed_without_a_limit() {
        let logins = Logins::new().unwrap();
        let stored = logins.hash(&Secret::new("right")).await.unwrap();
        assert_eq!(login(&logins, "right", Some(&stored)).await, Ok(()));
        let elsewhere = "203.0.113.9".parse().unwrap();
        for _ in 0..6 {
            logins.0.throttle.failed(elsewhere, "root", Instant::now());
        }
        let guess = logins.verify(elsewhere, "root", &Secret::new("right"), Some(&stored)).await;
        assert!(matches!(guess, Err(LoginError::Slowed { .. })), "{guess:?}");
        assert_eq!(login(&logins, "right", Some(&stored)).await, Ok(()), "the owner at home is not slowed");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_more_than_two_turns_are_taken_even_by_clients_that_hang_up() {
        // Long enough that what is looked at happens meanwhile, on a busy machine too.
        let slow = bcrypt::hash("right", 12).unwrap().parse::<PasswordHash>().unwrap();
        let (logins, hung_up) = loop {
            let logins = Logins::new().unwrap();
            let attempt = |_| {
                let (logins, slow) = (logins.clone(), slow.clone());
                tokio::spawn(async move { login(&logins, "wrong", Some(&slow)).await })
            };
            let attempts: Vec<_> = (0..2).map(attempt).collect();
            while logins.0.turns.available_permits() > 0 && attempts.iter().any(|task| !task.is_finished()) {
                time::sleep(Duration::from_millis(1)).await;
            }
            // One may be done before the other begins; then both begin again.
            if logins.0.turns.available_permits() == 0 {
                break (logins, attempts);
            }
        };
        hung_up.iter().for_each(tokio::task::JoinHandle::abort);
        assert_eq!(logins.0.turns.available_permits(), 0, "a turn was given up before its hash was done");
        let both = logins.0.turns.acquire_many(u32::try_from(HASHES_AT_ONCE).unwrap()).await.unwrap();
        drop(both);
        for _ in 0..4 {
            logins.0.throttle.failed(HOME, "root", Instant::now());
        }
        assert!(logins.0.throttle.check(HOME, "root", Instant::now()).is_err(), "hanging up was not counted");
    }
}
