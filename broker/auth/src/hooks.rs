//! Where others may have a say about clients and messages: one trait for each point, in the order in which a client
//! meets them.
//!
//! | point | asked | may |
//! |---|---|---|
//! | [`OnConnect`] | about each CONNECT, before passwords | refuse |
//! | [`Authenticate`] | who the client is | admit, refuse, ask back, answer later |
//! | [`Authorise`] | about each PUBLISH that no cache knows, each SUBSCRIBE | allow, deny, leave it to the access list |
//! | [`OnPublish`] | about each PUBLISH that is allowed | refuse |
//! | [`OnDeliver`] | about each message before it is sent to a client | withhold |
//! | [`OnDisconnect`] | told when a client has gone | |
//!
//! # Free when unused
//!
//! A point that nobody uses is a `None` in [`Hooks`]. [`Hooks::publish`] and its relatives are inlined to one comparison
//! with null that always goes the same way, and what a hook would be told is made by a closure that is not called. That
//! is less than a nanosecond beside the microsecond of a message (`cargo run --release -p fulmar-auth --example
//! measure`). Generic parameters would save even that, and cost a type parameter on everything around a data thread and
//! the choice at run time.
//!
//! Hooks are called on data threads: they must not block. Only authentication may take its time, by [`Step::Later`].

use std::net::IpAddr;

use fulmar_codec::{Connect, Publish, ReasonCode};

/// A client as hooks see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client<'a> {
    /// Its client id.
    pub client_id: &'a str,
    /// Its user name, once it has proved it.
    pub username: Option<&'a str>,
    /// Where it comes from.
    pub address: IpAddr,
}

/// A client that asks to be let in.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// What it says. Nothing in it has been proved.
    pub connect: &'a Connect<'a>,
    /// The user name that its certificate proves, if the listener takes it from there.
    pub certified: Option<&'a str>,
    /// The name of the listener it came by.
    pub listener: &'a str,
    /// Where it comes from.
    pub address: IpAddr,
}

/// Which attempt an answer is for. Numbers are not used again, so an answer that comes too late finds nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// How authentication goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Not ours: the next one is asked, and who is nobody's is refused unless anonymous clients are allowed.
    Pass,
    /// The client is let in.
    Admit(Admission),
    /// The client is told why not. `BAD_USER_NAME_OR_PASSWORD` tells a guesser least.
    Refuse(ReasonCode),
    /// The answer comes later, with the ticket, by [`Answers`]. Until then the client waits, within the time that it has
    /// for connecting.
    Later,
    /// The client is sent AUTH with these bytes, and its answer goes to [`Authenticate::proceed`] (MQTT 5.0, 4.12).
    Challenge(Vec<u8>),
}

/// As whom a client is let in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admission {
    /// The user name, for rules and bans, of 65,535 bytes at most. `None`: anonymous.
    pub username: Option<Box<str>>,
    /// The unix second at which the client has to prove itself again, as a token has it.
    pub until_unix_seconds: Option<u64>,
    /// What goes into CONNACK as authentication data (MQTT 5.0, 3.2.2.3.18).
    pub data: Vec<u8>,
}

/// Asked about each CONNECT before anything is verified.
pub trait OnConnect: Send + Sync {
    /// An error refuses the client with this reason.
    fn connect(&self, attempt: &Attempt<'_>) -> Result<(), ReasonCode>;
}

/// Finds out who a client is: passwords, tokens, other servers, SCRAM.
pub trait Authenticate: Send + Sync {
    /// The first step of an attempt.
    fn begin(&self, ticket: Ticket, attempt: &Attempt<'_>) -> Step;

    /// The client's answer to a [`Step::Challenge`]. Who never asks back is never answered.
    fn proceed(&self, ticket: Ticket, data: &[u8]) -> Step {
        let _ = (ticket, data);
        Step::Refuse(ReasonCode::PROTOCOL_ERROR)
    }

    /// A client that this authenticator let in proves itself again (MQTT 5.0, 4.12.1). What comes of it is as with
    /// [`Self::begin`]; it has to be the same user.
    fn reauthenticate(&self, ticket: Ticket, client: &Client<'_>, data: &[u8]) -> Step {
        let _ = (ticket, client, data);
        Step::Refuse(ReasonCode::NOT_AUTHORIZED)
    }

    /// The client has gone before it was answered: nobody awaits this ticket any more.
    fn abandon(&self, ticket: Ticket) {
        let _ = ticket;
    }
}

/// Where an authenticator puts the answers that it owed. The program gives it one when it makes it, and brings each
/// answer to the data thread that waits for it.
pub trait Answers: Send + Sync {
    /// How the attempt of this ticket goes on; from any thread. [`Step::Later`] changes nothing.
    fn answer(&self, ticket: Ticket, step: Step);
}

/// Has a say before the access list. `None` leaves the decision to the list.
pub trait Authorise: Send + Sync {
    /// Whether the client may publish to this topic. The answer is remembered until rules are loaded again.
    fn may_publish(&self, client: &Client<'_>, topic: &str) -> Option<bool> {
        let _ = (client, topic);
        None
    }

    /// Whether the client may subscribe to this filter.
    fn may_subscribe(&self, client: &Client<'_>, filter: &str) -> Option<bool> {
        let _ = (client, filter);
        None
    }
}

/// Sees each message that a client may publish.
pub trait OnPublish: Send + Sync {
    /// An error refuses the message with this reason. The topic is resolved: an alias is not seen.
    fn publish(&self, client: &Client<'_>, publish: &Publish<'_>) -> Result<(), ReasonCode>;
}

/// Sees each message before it is sent to a client.
pub trait OnDeliver: Send + Sync {
    /// `false` withholds the message from this client.
    fn deliver(&self, client: &Client<'_>, topic: &str, payload: &[u8]) -> bool;
}

/// Is told when clients go.
pub trait OnDisconnect: Send + Sync {
    /// The connection has ended, for this reason.
    fn disconnected(&self, client: &Client<'_>, reason: ReasonCode);
}

/// What is hooked in at which point.
#[derive(Default)]
pub struct Hooks {
    /// About each CONNECT.
    pub connect: Option<Box<dyn OnConnect>>,
    /// Who the client is: asked one after the other until one does not pass.
    pub authenticate: Vec<Box<dyn Authenticate>>,
    /// Before the access list.
    pub authorise: Option<Box<dyn Authorise>>,
    /// About each PUBLISH.
    pub publish: Option<Box<dyn OnPublish>>,
    /// About each delivery.
    pub deliver: Option<Box<dyn OnDeliver>>,
    /// About each end.
    pub disconnect: Option<Box<dyn OnDisconnect>>,
}

impl Hooks {
    /// Whether this client may go on to authentication.
    pub fn connect(&self, attempt: &Attempt<'_>) -> Result<(), ReasonCode> {
        self.connect.as_ref().map_or(Ok(()), |hook| hook.connect(attempt))
    }

    /// The first answer that is not [`Step::Pass`], and which authenticator gave it: it is the one to
    /// [`proceed`](Self::proceed) with.
    pub fn authenticate(&self, ticket: Ticket, attempt: &Attempt<'_>) -> Option<(usize, Step)> {
        let mut steps = self.authenticate.iter().map(|hook| hook.begin(ticket, attempt)).enumerate();
        steps.find(|(_, step)| *step != Step::Pass)
    }

    /// The answer of the authenticator that is at work. Passing is too late now and refuses the client.
    pub fn proceed(&self, authenticator: usize, ticket: Ticket, data: &[u8]) -> Step {
        match self.authenticate.get(authenticator).map(|hook| hook.proceed(ticket, data)) {
            Some(Step::Pass) | None => Step::Refuse(ReasonCode::NOT_AUTHORIZED),
            Some(step) => step,
        }
    }

    /// The answer of the authenticator that let the client in. Passing refuses the client.
    pub fn reauthenticate(&self, authenticator: usize, ticket: Ticket, client: &Client<'_>, data: &[u8]) -> Step {
        match self.authenticate.get(authenticator).map(|hook| hook.reauthenticate(ticket, client, data)) {
            Some(Step::Pass) | None => Step::Refuse(ReasonCode::NOT_AUTHORIZED),
            Some(step) => step,
        }
    }

    /// Tells the authenticator that is at work that nobody waits for it.
    pub fn abandon(&self, authenticator: usize, ticket: Ticket) {
        if let Some(hook) = self.authenticate.get(authenticator) {
            hook.abandon(ticket);
        }
    }

    /// Whether a client may publish to a topic; `list` decides where no hook does.
    #[inline]
    pub fn may_publish<'a>(
        &self,
        client: impl FnOnce() -> Client<'a>,
        topic: &str,
        list: impl FnOnce() -> bool,
    ) -> bool {
        let answer = self.authorise.as_ref().and_then(|hook| hook.may_publish(&client(), topic));
        answer.unwrap_or_else(list)
    }

    /// Whether a client may subscribe to a filter; `list` decides where no hook does.
    #[inline]
    pub fn may_subscribe<'a>(
        &self,
        client: impl FnOnce() -> Client<'a>,
        filter: &str,
        list: impl FnOnce() -> bool,
    ) -> bool {
        let answer = self.authorise.as_ref().and_then(|hook| hook.may_subscribe(&client(), filter));
        answer.unwrap_or_else(list)
    }

    /// Whether a message goes on its way.
    #[inline]
    pub fn publish<'a>(&self, client: impl FnOnce() -> Client<'a>, publish: &Publish<'_>) -> Result<(), ReasonCode> {
        self.publish.as_ref().map_or(Ok(()), |hook| hook.publish(&client(), publish))
    }

    /// Whether a message is sent to this client.
    #[inline]
    pub fn deliver<'a>(&self, client: impl FnOnce() -> Client<'a>, topic: &str, payload: &[u8]) -> bool {
        self.deliver.as_ref().is_none_or(|hook| hook.deliver(&client(), topic, payload))
    }

    /// Tells that a client has gone.
    pub fn disconnected(&self, client: &Client<'_>, reason: ReasonCode) {
        if let Some(hook) = &self.disconnect {
            hook.disconnected(client, reason);
        }
    }
}
