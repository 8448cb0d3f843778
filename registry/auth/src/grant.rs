//! Proof that a request may do something. A grant cannot be made outside this crate, so a use case that takes
//! one cannot be reached without authorization.

use std::{fmt, marker::PhantomData};

use registry_types::{Action, RepositoryName};
use serde_json::Value;

use crate::{Access, Identity};

mod sealed {
    pub trait Sealed {}
}

/// What a [`Grant`] is for. Sealed: there are no others than [`Pull`], [`Push`] and [`Delete`].
pub trait Permission: sealed::Sealed + Send + Sync + 'static {
    const ACTION: Action;
    /// The actions a token must give: distribution and GitLab ask for pull as well as push before a push.
    const NEEDED: &'static [Action];
}

/// Reading blobs, manifests, tags and referrers.
#[derive(Debug, Clone, Copy)]
pub struct Pull;
/// Writing blobs, manifests and tags.
#[derive(Debug, Clone, Copy)]
pub struct Push;
/// Removing blobs, manifests and tags.
#[derive(Debug, Clone, Copy)]
pub struct Delete;

impl sealed::Sealed for Pull {}
impl sealed::Sealed for Push {}
impl sealed::Sealed for Delete {}

impl Permission for Pull {
    const ACTION: Action = Action::Pull;
    const NEEDED: &'static [Action] = &[Action::Pull];
}

impl Permission for Push {
    const ACTION: Action = Action::Push;
    const NEEDED: &'static [Action] = &[Action::Pull, Action::Push];
}

impl Permission for Delete {
    const ACTION: Action = Action::Delete;
    const NEEDED: &'static [Action] = &[Action::Delete];
}

/// Permission `P` on one repository, given to one identity. Cloning is cheap.
///
/// It comes from [`Access::grant`] and from nowhere else:
///
/// ```compile_fail,E0451
/// # use std::marker::PhantomData;
/// # use registry_auth::{Access, Grant, Identity, Pull};
/// let access = Access::unrestricted(Identity::anonymous());
/// let repository = "root/app".parse().unwrap();
/// let forged: Grant<Pull> = Grant { repository, access, permission: PhantomData };
/// ```
///
/// Its constructor is this crate's own:
///
/// ```compile_fail,E0624
/// # use registry_auth::{Access, Grant, Identity, Pull};
/// let access = Access::unrestricted(Identity::anonymous());
/// let forged = Grant::<Pull>::new("root/app".parse().unwrap(), access);
/// ```
///
/// Nobody invents a permission that needs less:
///
/// ```compile_fail,E0277
/// # use registry_auth::Permission;
/// # use registry_types::Action;
/// struct Anything;
/// impl Permission for Anything {
///     const ACTION: Action = Action::Push;
///     const NEEDED: &'static [Action] = &[];
/// }
/// ```
///
/// The rights it is asked for come from a token that verified, never from a list of one's own:
///
/// ```compile_fail,E0624
/// # use registry_auth::{Access, Identity};
/// let access = Access::listed(Identity::anonymous(), Vec::new());
/// ```
///
/// Nor does one permission become another:
///
/// ```compile_fail,E0308
/// # use registry_auth::{Access, Grant, Identity, Pull, Push};
/// let access = Access::unrestricted(Identity::anonymous());
/// let pull: Grant<Pull> = access.grant(&"root/app".parse().unwrap()).unwrap();
/// let push: Grant<Push> = pull;
/// ```
pub struct Grant<P: Permission> {
    repository: RepositoryName,
    access: Access,
    permission: PhantomData<fn() -> P>,
}

impl<P: Permission> Grant<P> {
    pub(crate) fn new(repository: RepositoryName, access: Access) -> Self {
        Self { repository, access, permission: PhantomData }
    }

    pub fn repository(&self) -> &RepositoryName {
        &self.repository
    }

    pub fn identity(&self) -> &Identity {
        self.access.identity()
    }

    /// What the token said about the repository beside its actions (GitLab's `meta`: project path, tag rules).
    pub fn meta(&self) -> Option<&Value> {
        self.access.meta(&self.repository)
    }
}

impl<P: Permission> Clone for Grant<P> {
    fn clone(&self) -> Self {
        Self::new(self.repository.clone(), self.access.clone())
    }
}

impl<P: Permission> fmt::Debug for Grant<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Grant({} on {} for {})", P::ACTION, self.repository, self.identity())
    }
}

/// Permission to list all repositories.
///
/// ```compile_fail,E0451
/// # use registry_auth::{Access, CatalogGrant, Identity};
/// let forged = CatalogGrant { access: Access::unrestricted(Identity::anonymous()) };
/// ```
#[derive(Clone)]
pub struct CatalogGrant {
    access: Access,
}

impl CatalogGrant {
    pub(crate) fn new(access: Access) -> Self {
        Self { access }
    }

    pub fn identity(&self) -> &Identity {
        self.access.identity()
    }
}

impl fmt::Debug for CatalogGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CatalogGrant({})", self.identity())
    }
}
