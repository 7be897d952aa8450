//! Hooks: what each is told, what comes of its answer, and that without them everything passes.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, mpsc};

use fulmar_auth::hooks::{
    Admission, Answers, Attempt, Authenticate, Authorise, Client, Hooks, OnConnect, OnDeliver, OnDisconnect, OnPublish,
    Step, Ticket,
};
use fulmar_codec::{Connect, Publish, PublishProperties, QoS, ReasonCode, Version};

const CLIENT: Client<'_> =
    Client { client_id: "m1", username: Some("alice"), address: IpAddr::V4(Ipv4Addr::LOCALHOST) };

/// Writes down what it is told; says no to what is called `no`.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Vec<String>>>);

impl Recorder {
    fn note(&self, what: String) -> bool {
        let is_no = what.ends_with("no");
        self.0.lock().expect("no test panics while it holds this").push(what);
        !is_no
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().expect("no test panics while it holds this"))
    }
}

impl OnConnect for Recorder {
    fn connect(&self, attempt: &Attempt<'_>) -> Result<(), ReasonCode> {
        self.note(format!("connect {}", attempt.connect.client_id)).then_some(()).ok_or(ReasonCode::BANNED)
    }
}

impl Authorise for Recorder {
    fn may_publish(&self, client: &Client<'_>, topic: &str) -> Option<bool> {
        let answer = self.note(format!("may {} publish {topic}", client.client_id));
        (topic != "perhaps").then_some(answer)
    }

    fn may_subscribe(&self, client: &Client<'_>, filter: &str) -> Option<bool> {
        let answer = self.note(format!("may {} subscribe {filter}", client.client_id));
        (filter != "perhaps").then_some(answer)
    }
}

impl OnPublish for Recorder {
    fn publish(&self, client: &Client<'_>, publish: &Publish<'_>) -> Result<(), ReasonCode> {
        let passes = self.note(format!("{} publishes {}", client.client_id, publish.topic));
        passes.then_some(()).ok_or(ReasonCode::PAYLOAD_FORMAT_INVALID)
    }
}

impl OnDeliver for Recorder {
    fn deliver(&self, client: &Client<'_>, topic: &str, payload: &[u8]) -> bool {
        self.note(format!("{} gets {} bytes of {topic}", client.client_id, payload.len()))
    }
}

impl OnDisconnect for Recorder {
    fn disconnected(&self, client: &Client<'_>, reason: ReasonCode) {
        self.note(format!("{} is gone: {}", client.client_id, reason.name()));
    }
}

/// Knows the users whose names begin with its letter; asks them back, then answers by what they say.
struct Asking {
    letter: char,
    seen: Recorder,
}

impl Authenticate for Asking {
    fn begin(&self, ticket: Ticket, attempt: &Attempt<'_>) -> Step {
        self.seen.note(format!("{} begins {}", self.letter, ticket.0));
        match attempt.connect.username {
            Some(name) if name.starts_with(self.letter) => Step::Challenge(b"who?".to_vec()),
            _ => Step::Pass,
        }
    }

    fn proceed(&self, ticket: Ticket, data: &[u8]) -> Step {
        self.seen.note(format!("{} goes on with {}", self.letter, ticket.0));
        match data {
            b"me" => Step::Admit(Admission { username: Some("me".into()), ..Admission::default() }),
            b"pass" => Step::Pass,
            _ => Step::Refuse(ReasonCode::BAD_USER_NAME_OR_PASSWORD),
        }
    }

    fn abandon(&self, ticket: Ticket) {
        self.seen.note(format!("{} gives up {}", self.letter, ticket.0));
    }
}

/// Answers later, from a thread of its own.
struct Slow(Arc<dyn Answers>);

impl Authenticate for Slow {
    fn begin(&self, ticket: Ticket, attempt: &Attempt<'_>) -> Step {
        let (answers, username) = (Arc::clone(&self.0), attempt.connect.username.map(Into::into));
        std::thread::spawn(move || {
            answers.answer(ticket, Step::Admit(Admission { username, ..Admission::default() }));
        });
        Step::Later
    }
}

/// What a program would make of its channel to a data thread.
struct Posted(mpsc::Sender<(Ticket, Step)>);

impl Answers for Posted {
    fn answer(&self, ticket: Ticket, step: Step) {
        self.0.send((ticket, step)).expect("somebody waits for the answer");
    }
}

fn attempt<'a>(connect: &'a Connect<'a>) -> Attempt<'a> {
    Attempt { connect, certified: None, listener: "mqtt", address: IpAddr::V4(Ipv4Addr::LOCALHOST) }
}

fn connect<'a>(client_id: &'a str, username: &'a str) -> Connect<'a> {
    Connect { username: Some(username), ..Connect::new(Version::V5, client_id) }
}

fn publish(topic: &str) -> Publish<'_> {
    let properties = PublishProperties::default();
    Publish { dup: false, qos: QoS::AtMostOnce, retain: false, topic, packet_id: None, properties, payload: b"21.5" }
}

#[test]
fn without_hooks_everything_passes_and_nothing_is_made_for_them() {
    let hooks = Hooks::default();
    let nobody = || -> Client<'_> { unreachable!("there is nobody to tell") };
    let connect = connect("m1", "alice");
    assert_eq!(hooks.connect(&attempt(&connect)), Ok(()));
    assert_eq!(hooks.authenticate(Ticket(1), &attempt(&connect)), None);
    assert_eq!(hooks.publish(nobody, &publish("t")), Ok(()));
    assert!(hooks.deliver(nobody, "t", b"21.5"));
    for list in [true, false] {
        assert_eq!(hooks.may_publish(nobody, "t", || list), list);
        assert_eq!(hooks.may_subscribe(nobody, "t", || list), list);
    }
    hooks.disconnected(&CLIENT, ReasonCode::SUCCESS);
}

#[test]
fn each_hook_is_told_and_its_answer_holds() {
    let seen = Recorder::default();
    let hooks = Hooks {
        connect: Some(Box::new(seen.clone())),
        authenticate: Vec::new(),
        authorise: Some(Box::new(seen.clone())),
        publish: Some(Box::new(seen.clone())),
        deliver: Some(Box::new(seen.clone())),
        disconnect: Some(Box::new(seen.clone())),
    };
    assert_eq!(hooks.connect(&attempt(&connect("m1", "alice"))), Ok(()));
    assert_eq!(hooks.connect(&attempt(&connect("no", "alice"))), Err(ReasonCode::BANNED));
    assert_eq!(hooks.publish(|| CLIENT, &publish("yes")), Ok(()));
    assert_eq!(hooks.publish(|| CLIENT, &publish("no")), Err(ReasonCode::PAYLOAD_FORMAT_INVALID));
    assert!(hooks.deliver(|| CLIENT, "yes", b"21.5"));
    assert!(!hooks.deliver(|| CLIENT, "no", b""));
    hooks.disconnected(&CLIENT, ReasonCode::KEEP_ALIVE_TIMEOUT);
    assert_eq!(
        seen.take(),
        [
            "connect m1",
            "connect no",
            "m1 publishes yes",
            "m1 publishes no",
            "m1 gets 4 bytes of yes",
            "m1 gets 0 bytes of no",
            "m1 is gone: keep alive timeout",
        ]
    );
}

#[test]
fn the_access_list_decides_only_where_no_hook_does() {
    let hooks = Hooks { authorise: Some(Box::new(Recorder::default())), ..Hooks::default() };
    for list in [true, false] {
        assert!(hooks.may_publish(|| CLIENT, "yes", || list));
        assert!(!hooks.may_publish(|| CLIENT, "no", || list));
        assert_eq!(hooks.may_publish(|| CLIENT, "perhaps", || list), list);
        assert!(hooks.may_subscribe(|| CLIENT, "yes", || list));
        assert!(!hooks.may_subscribe(|| CLIENT, "no", || list));
        assert_eq!(hooks.may_subscribe(|| CLIENT, "perhaps", || list), list);
    }
}

#[test]
fn the_first_authenticator_that_knows_the_client_goes_on_with_it() {
    let seen = Recorder::default();
    let asking = |letter| -> Box<dyn Authenticate> { Box::new(Asking { letter, seen: seen.clone() }) };
    let hooks = Hooks { authenticate: vec![asking('a'), asking('b'), asking('b')], ..Hooks::default() };
    let (bob, ticket) = (connect("m1", "bob"), Ticket(7));
    assert_eq!(hooks.authenticate(ticket, &attempt(&bob)), Some((1, Step::Challenge(b"who?".to_vec()))));
    let admitted = Step::Admit(Admission { username: Some("me".into()), ..Admission::default() });
    assert_eq!(hooks.proceed(1, ticket, b"me"), admitted);
    hooks.abandon(1, ticket);
    assert_eq!(seen.take(), ["a begins 7", "b begins 7", "b goes on with 7", "b gives up 7"]);
    assert_eq!(hooks.authenticate(ticket, &attempt(&connect("m1", "carol"))), None);
}

#[test]
fn who_passes_too_late_or_was_never_asked_back_is_refused() {
    let asking = Asking { letter: 'a', seen: Recorder::default() };
    let (answers, posted) = mpsc::channel();
    let slow = Slow(Arc::new(Posted(answers)));
    let hooks = Hooks { authenticate: vec![Box::new(asking), Box::new(slow)], ..Hooks::default() };
    assert_eq!(hooks.proceed(0, Ticket(1), b"pass"), Step::Refuse(ReasonCode::NOT_AUTHORIZED));
    assert_eq!(hooks.proceed(9, Ticket(1), b"me"), Step::Refuse(ReasonCode::NOT_AUTHORIZED));
    assert_eq!(hooks.authenticate(Ticket(1), &attempt(&connect("m1", "bob"))), Some((1, Step::Later)));
    assert_eq!(hooks.proceed(1, Ticket(1), b"me"), Step::Refuse(ReasonCode::PROTOCOL_ERROR));
    // Nobody waits any more, and none of them minds.
    hooks.abandon(1, Ticket(1));
    hooks.abandon(9, Ticket(1));
    assert_eq!(posted.recv().map(|(ticket, _)| ticket), Ok(Ticket(1)));
}

#[test]
fn an_authenticator_can_answer_later_from_another_thread() {
    let (answers, posted) = mpsc::channel();
    let hooks = Hooks { authenticate: vec![Box::new(Slow(Arc::new(Posted(answers))))], ..Hooks::default() };
    assert_eq!(hooks.authenticate(Ticket(4), &attempt(&connect("m1", "bob"))), Some((0, Step::Later)));
    let admission = Admission { username: Some("bob".into()), ..Admission::default() };
    assert_eq!(posted.recv(), Ok((Ticket(4), Step::Admit(admission))));
}
