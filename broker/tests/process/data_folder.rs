//! `fulmar-broker inspect`, `export` and `import`: what a broker left in its folder is told, with what is wrong with it,
//! and clients go on with it elsewhere.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use fulmar_codec::{AckKind, Connect, PacketId, PublishHead, QoS, ReasonCode, Will};
use serde_json::{Value, json};

use crate::durable::{lasting, publish, publisher, settle, start};
use crate::durable_nodes::{come_back, places};
use crate::harness::{Broker, Client, Folder, Got, Start, wait_for};

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fulmar-broker"));
    command.args(arguments).env_clear().stdin(Stdio::null());
    command
}

fn tool(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

/// A tool whose exit code is known, and what it said: the result, and beside it.
pub fn run(arguments: &[&str], code: i32) -> (String, String) {
    let Output { status, stdout, stderr } = tool(arguments);
    let [stdout, stderr] = [stdout, stderr].map(|text| String::from_utf8(text).unwrap());
    assert_eq!(status.code(), Some(code), "{arguments:?}: {stdout}{stderr}");
    (stdout, stderr)
}

fn inspect(data: &Path, code: i32) -> Value {
    let (shown, _) = run(&["inspect", data.to_str().unwrap(), "--json", "--sessions", "--retained"], code);
    serde_json::from_str(&shown).unwrap()
}

fn kinds(report: &Value) -> Vec<&str> {
    report["findings"].as_array().unwrap().iter().map(|finding| finding["kind"].as_str().unwrap()).collect()
}

fn data(folder: &Folder) -> PathBuf {
    folder.path().join("data")
}

/// All files below a folder, with what is in them and when they were changed.
pub fn contents(folder: &Path) -> BTreeMap<PathBuf, (Vec<u8>, i64, i64)> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(contents(&path));
        } else {
            let metadata = path.metadata().unwrap();
            all.insert(path.clone(), (fs::read(&path).unwrap(), metadata.mtime(), metadata.mtime_nsec()));
        }
    }
    all
}

/// Publishes with QoS 2, up to the end of it if `releases`.
fn publish_qos_2(client: &mut Client, payload: &str, packet_id: u16, releases: bool) {
    let head = PublishHead { qos: QoS::ExactlyOnce, packet_id: PacketId::new(packet_id), ..PublishHead::default() };
    client.acknowledges = false;
    client.publish_with("t", payload, head);
    assert_eq!(client.next(), Got::PubRec(packet_id, ReasonCode::SUCCESS));
    if releases {
        client.acknowledge(AckKind::PubRel, packet_id);
        assert_eq!(client.next(), Got::PubComp(packet_id));
    }
}

/// The packet identifier of the next message, which has this payload.
fn take(client: &mut Client, payload: &str) -> u16 {
    match client.next() {
        Got::Message { payload: found, packet_id, .. } if found == payload.as_bytes() => packet_id,
        got => panic!("wanted the message {payload}, got {got:?}"),
    }
}

/// The subscriber has one message behind it, of one it has said that it has it, one it was sent, two wait. The publisher
/// has not released its last one. One client has left a will. All of it in a folder whose broker was killed.
fn furnished() -> Folder {
    let folder = Folder::new();
    let broker = start(&folder, &[]);
    let address = broker.address("mqtt");
    let mut subscriber = Client::connect_with(address, &lasting("subscriber"));
    subscriber.subscribe("t", QoS::ExactlyOnce);
    subscriber.acknowledges = false;
    let mut sender = Client::connect_with(address, &lasting("sender"));
    for (packet_id, payload) in (1..).zip(["done", "released", "sent"]) {
        publish_qos_2(&mut sender, payload, packet_id, true);
    }
    let ids = ["done", "released", "sent"].map(|payload| take(&mut subscriber, payload));
    assert_eq!(ids, [1, 2, 3]);
    for id in [1, 2] {
        subscriber.acknowledge(AckKind::PubRec, id);
        assert_eq!(subscriber.next(), Got::PubRel(id));
    }
    subscriber.acknowledge(AckKind::PubComp, 1);
    drop(subscriber);
    settle(&broker, 1);
    publish_qos_2(&mut sender, "waits", 4, true);
    publish_qos_2(&mut sender, "open", 5, false);

    let mut publisher = publisher(&broker);
    let retained = PublishHead { retain: true, qos: QoS::AtLeastOnce, ..PublishHead::default() };
    let id = publisher.publish_with("kept", "retained", retained);
    assert_eq!(publisher.next(), Got::PubAck(id, ReasonCode::SUCCESS));
    let will = Some(Will { delay: 3000, qos: QoS::AtLeastOnce, ..Will::new("wills", b"gone") });
    let _willing = Client::connect_with(address, &Connect { will, ..lasting("willing") });
    settle(&broker, 3);
    broker.kill();
    folder
}

/// What clients find that go on where `furnished` was killed.
fn go_on(broker: &Broker) {
    let address = broker.address("mqtt");
    let mut subscriber = Client::resume(address, &lasting("subscriber"));
    let message = |payload: &str, packet_id, dup| Got::Message {
        topic: "t".to_owned(),
        payload: payload.into(),
        qos: 2,
        retain: false,
        dup,
        packet_id,
    };
    let got = [(); 4].map(|()| subscriber.next());
    assert_eq!(got, [Got::PubRel(2), message("sent", 3, true), message("waits", 4, false), message("open", 5, false)]);
    let mut sender = Client::resume(address, &lasting("sender"));
    publish_qos_2(&mut sender, "open", 5, true);
    publish_qos_2(&mut sender, "new", 6, true);
    assert_eq!(take(&mut subscriber, "new"), 6, "a retry is not a new message");
    let mut reader = Client::connect(address, "reader");
    reader.subscribe("kept", QoS::AtLeastOnce);
    assert_eq!(reader.text(), "retained");
}

fn start_on(data: &Path) -> Broker {
    Broker::start(&["threads=2", &format!("dataDir={}", data.display())])
}

fn export(data: &Path) -> String {
    run(&["export", data.to_str().unwrap(), "-"], 0).0
}

/// The lines behind the first, which says when and whose.
fn lines(export: &str) -> Vec<Value> {
    export.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn written(folder: &Folder, name: &str, text: &str) -> String {
    let path = folder.path().join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn inspect_tells_what_a_killed_broker_left_and_changes_nothing() {
    let folder = furnished();
    let data = data(&folder);
    let before = contents(&data);
    let report = inspect(&data, 0);
    assert_eq!(contents(&data), before);

    assert_eq!((&report["shape"], &report["isSound"], kinds(&report)), (&json!(1), &json!(true), vec![]));
    let node = fs::read_to_string(data.join("node-id")).unwrap();
    assert_eq!(report["node"], json!(node.trim()));
    let store = &report["store"];
    assert_eq!([&store["node"], &store["lives"], &store["shards"]], [&json!(node.trim()), &json!(1), &json!(12)]);
    let totals = &store["totals"];
    for (name, count) in
        [("sessions", 3), ("subscriptions", 1), ("queued", 4), ("retained", 1), ("wills", 1), ("destinations", 0)]
    {
        assert_eq!(totals[name], json!(count), "{name}: {totals}");
    }
    let groups = store["groups"].as_array().unwrap();
    assert_eq!(groups.len(), 12);
    assert!(groups.iter().all(|group| group["voters"] == json!([node.trim()]) && group["last"] == group["applied"]));
    let log = &store["log"];
    let bytes: usize = before.iter().filter(|(path, _)| path.ends_with(".log")).map(|(_, it)| it.0.len()).sum();
    assert!(log["segments"] == 1 && log["bytes"].as_u64().unwrap() >= bytes as u64, "{log}");

    let sessions = report["sessions"].as_array().unwrap();
    let session = |name: &str| sessions.iter().find(|it| it["client"] == name).unwrap();
    let owner = format!("{}#1", node.trim());
    let subscriber = session("subscriber");
    for (name, value) in [
        ("queued", json!(4)),
        ("inFlight", json!(2)),
        ("owner", Value::Null),
        ("expirySeconds", json!(3600)),
        ("subscriptions", json!([{"filter": "t", "qos": 2}])),
    ] {
        assert_eq!(subscriber[name], value, "{name}: {subscriber}");
    }
    assert!(subscriber["endsAt"].is_u64(), "{subscriber}");
    assert_eq!((&session("sender")["received"], &session("sender")["owner"]), (&json!(1), &json!(owner)));
    assert_eq!(session("willing")["hasWill"], json!(true));
    assert_eq!(report["retained"][0]["topic"], json!("kept"));

    let (text, _) = run(&["inspect", data.to_str().unwrap(), "--sessions", "--retained"], 0);
    for part in [
        ": sound\n",
        "started once, 12 shards\n",
        "in all shards: 3 sessions, 1 subscriptions, 4 queued (",
        "session \"subscriber\" (anonymous): away, ends in 3",
        "4 queued (16 bytes, 2 in flight), 0 received with QoS 2\n  \"t\" with QoS 2\n",
        "retained \"kept\": QoS 1, 8 bytes\n",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    // It is as it was for the broker.
    go_on(&start(&folder, &[]));
}

#[test]
fn a_folder_in_use_and_one_that_is_none_are_refused() {
    let folder = Folder::new();
    let broker = start(&folder, &[]);
    let data = data(&folder);
    let path = data.to_str().unwrap();
    let file = folder.path().join("export");
    let file = file.to_str().unwrap();
    for arguments in [&["inspect", path][..], &["export", path, file]] {
        let (_, errors) = run(arguments, 2);
        assert!(errors.contains("is in use by a broker, wanted one that nobody changes"), "{errors}");
    }
    let (_, errors) = run(&["import", path, written(&folder, "empty", "").as_str()], 2);
    assert!(errors.contains("in use by another broker"), "{errors}");
    broker.kill();
    run(&["inspect", path], 0);

    let elsewhere = folder.path().to_str().unwrap();
    let (_, errors) = run(&["inspect", elsewhere], 2);
    assert!(
        errors.contains(&format!("found neither node-id nor store in {elsewhere}, wanted the dataDir")),
        "{errors}"
    );
    let store = data.join("store");
    let (_, errors) = run(&["inspect", store.to_str().unwrap()], 2);
    assert!(errors.contains("name the folder above it"), "{errors}");
    run(&["inspect", "/nowhere"], 2);
    run(&["inspect"], 2);
    // Of a node that kept nothing there is nothing to tell.
    fs::remove_dir_all(store).unwrap();
    assert_eq!(inspect(&data, 0)["store"], Value::Null);
}

/// A broker does not start on the folder, and says this.
fn refuses_to_start(data: &Path, why: &str) {
    let exit = Start::with(&[&format!("dataDir={}", data.display())]).run_to_end();
    assert_eq!(exit.status.code(), Some(1), "{}", exit.errors);
    assert!(exit.errors.lines().last().unwrap().contains(why), "{}", exit.errors);
}

fn first_segment(data: &Path) -> PathBuf {
    data.join("store/log/0000000000000001.log")
}

#[test]
fn damage_in_the_middle_is_told_with_its_place_and_the_rest_can_be_exported() {
    let folder = furnished();
    let data = data(&folder);
    let path = first_segment(&data);
    let whole = fs::read(&path).unwrap();
    let end = whole.iter().rposition(|byte| *byte != 0).unwrap() as u64;
    let at = end * 3 / 4;
    File::options().write(true).open(&path).unwrap().write_all_at(&[!whole[at as usize]], at).unwrap();

    let report = inspect(&data, 1);
    assert_eq!((&report["isSound"], kinds(&report)), (&json!(false), vec!["logDamaged"]));
    let finding = &report["findings"][0];
    let offset = finding["offset"].as_u64().unwrap();
    assert!(finding["file"] == json!(path.to_str()) && offset <= at && finding["isDamage"] == json!(true), "{finding}");
    refuses_to_start(&data, &format!("{} is damaged at offset {offset}", path.display()));
    let (text, _) = run(&["inspect", data.to_str().unwrap()], 1);
    let told = format!("DAMAGE: logDamaged in {} at offset {offset}\n  found:  ", path.display());
    assert!(text.contains(": DAMAGED\n") && text.contains(&told) && text.contains("\n  do:     "), "{text}");
    let read = report["store"]["totals"]["sessions"].as_u64().unwrap();
    assert!(read >= 1, "{report}");

    let (_, errors) = run(&["export", data.to_str().unwrap(), "-"], 2);
    assert!(errors.contains("is damaged") && errors.contains("--damaged"), "{errors}");
    let (exported, errors) = run(&["export", data.to_str().unwrap(), "-", "--damaged"], 1);
    assert_eq!(lines(&exported).last().unwrap()["sessions"], json!(read), "{errors}");
    assert!(errors.contains(&format!("logDamaged in {}", path.display())), "{errors}");
    let new = folder.path().join("new");
    run(&["import", new.to_str().unwrap(), &written(&folder, "export", &exported)], 0);
    Client::resume(start_on(&new).address("mqtt"), &lasting("subscriber"));
}

#[test]
fn a_torn_tail_is_told_and_is_no_damage() {
    let folder = furnished();
    let data = data(&folder);
    let path = first_segment(&data);
    let length = fs::metadata(&path).unwrap().len();
    File::options().append(true).open(&path).unwrap().write_all(&[0xa5; 1000]).unwrap();
    let report = inspect(&data, 0);
    assert_eq!(kinds(&report), ["tornTail"]);
    let finding = &report["findings"][0];
    assert_eq!((&finding["offset"], &finding["isDamage"]), (&json!(length), &json!(false)));
    let (text, _) = run(&["inspect", data.to_str().unwrap()], 0);
    assert!(text.contains("note: tornTail") && text.contains("nothing in it was acknowledged"), "{text}");
    go_on(&start(&folder, &[]));
}

#[test]
fn whatever_else_keeps_a_broker_from_starting_is_told() {
    let folder = furnished();
    let old = data(&folder);
    let export = written(&folder, "export", &export(&old));
    type Harm = fn(&Path);
    let cases: [(&str, Harm, &str); 7] = [
        ("identityMissing", |store| fs::remove_file(store.join("identity")).unwrap(), "nothing says whose"),
        ("identityDamaged", |store| fs::write(store.join("identity"), "x").unwrap(), "identity is damaged"),
        (
            "identityFormat",
            |store| {
                let text = fs::read_to_string(store.join("identity")).unwrap();
                fs::write(store.join("identity"), text.replace("format 1", "format 2")).unwrap();
            },
            "start the release that made it",
        ),
        (
            "otherNode",
            |store| fs::write(store.parent().unwrap().join("node-id"), "00000000000000ff\n").unwrap(),
            "wanted 00000000000000ff",
        ),
        ("nodeIdDamaged", |store| fs::write(store.parent().unwrap().join("node-id"), "?\n").unwrap(), "wanted 16 hex"),
        (
            "snapshotMissing",
            |store| {
                for entry in fs::read_dir(store).unwrap() {
                    let path = entry.unwrap().path();
                    if path.file_name().unwrap().to_str().unwrap().starts_with("snapshot-3-") {
                        fs::remove_file(path).unwrap();
                    }
                }
            },
            "no snapshot of its shard",
        ),
        (
            "logFormat",
            |store| {
                // A head of another version, with the right checksum.
                let path = store.join("log/0000000000000001.log");
                let mut head = fs::read(&path).unwrap()[..64].to_vec();
                head[8] = 2;
                head[12..16].fill(0);
                let checksum = castagnoli(&head);
                head[12..16].copy_from_slice(&checksum.to_le_bytes());
                File::options().write(true).open(&path).unwrap().write_all_at(&head, 0).unwrap();
            },
            "has format version 2, wanted 1",
        ),
    ];
    for (kind, harm, why) in cases {
        // What was imported has snapshots.
        let folder = Folder::new();
        let new = data(&folder);
        run(&["import", new.to_str().unwrap(), &export], 0);
        harm(&new.join("store"));
        let report = inspect(&new, 1);
        assert_eq!(kinds(&report), [kind], "{report}");
        let finding = &report["findings"][0];
        for field in ["found", "wanted", "means", "advice"] {
            assert!(!finding[field].as_str().unwrap().is_empty(), "{kind}: {finding}");
        }
        refuses_to_start(&new, why);
    }
}

/// CRC-32C, bit by bit.
fn castagnoli(bytes: &[u8]) -> u32 {
    let byte = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg()))
    };
    !bytes.iter().fold(!0, byte)
}

#[test]
fn what_may_not_be_read_is_named() {
    const NOBODY: u32 = 65_534;
    let folder = furnished();
    let data = data(&folder);
    let segment = first_segment(&data);
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&segment, Permissions::from_mode(0o000)).unwrap();
    fs::set_permissions(data.join("store/identity"), Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(data.join("node-id"), Permissions::from_mode(0o644)).unwrap();
    let mut command = command(&["inspect", data.to_str().unwrap(), "--json"]);
    // Root may read everything.
    if fs::metadata(&segment).unwrap().uid() == 0 {
        command.uid(NOBODY).gid(NOBODY);
    }
    let output = command.output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), kinds(&report)), (Some(1), vec!["unreadable"]));
    let finding = &report["findings"][0];
    assert_eq!(finding["file"], json!(segment.to_str()));
    assert!(finding["found"].as_str().unwrap().contains("ermission denied"), "{finding}");
}

#[test]
fn clients_go_on_in_another_folder_with_all_that_waited() {
    let folder = furnished();
    let old = data(&folder);
    let before = contents(&old);
    let file = folder.path().join("export");
    let (_, told) = run(&["export", old.to_str().unwrap(), file.to_str().unwrap()], 0);
    assert!(told.contains("exported 3 sessions with 4 messages in their queues, 1 retained messages"), "{told}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(contents(&old), before);
    let exported = fs::read_to_string(&file).unwrap();

    let new = folder.path().join("new/data");
    let (_, told) = run(&["import", new.to_str().unwrap(), file.to_str().unwrap()], 0);
    assert!(told.contains("imported 3 sessions with 4 messages in their queues"), "{told}");
    assert!(!new.join("store.importing").exists());
    let report = inspect(&new, 0);
    assert_eq!((kinds(&report), &report["store"]["lives"]), (vec![], &json!(0)));
    // What is exported there is the same again.
    assert_eq!(lines(&export(&new)), lines(&exported));
    go_on(&start_on(&new));
}

#[test]
fn a_folder_for_a_cluster_is_one_of_a_member() {
    let folder = furnished();
    let exported = written(&folder, "export", &export(&data(&folder)));
    let new = folder.path().join("member");
    let path = new.to_str().unwrap();
    run(&["import", "--cluster", path, &exported], 0);
    let report = inspect(&new, 0);
    let store = &report["store"];
    assert_eq!((&store["isMember"], &store["totals"]["sessions"], kinds(&report)), (&json!(true), &json!(3), vec![]));
    assert_eq!(lines(&export(&new)), lines(&fs::read_to_string(&exported).unwrap()));
    refuses_to_start(&new, "was made by a member of a cluster, wanted a node that is alone");
    let (_, errors) = run(&["import", path, &exported, "--merge"], 2);
    assert!(errors.contains("is of a member of a cluster, wanted that of a node that is alone or none"), "{errors}");
}

#[test]
fn a_cluster_begins_with_what_was_imported_for_its_first_node() {
    let folder = furnished();
    let exported = written(&folder, "export", &export(&data(&folder)));
    let cluster = places(3);
    let folders: Vec<PathBuf> = (0..3).map(|index| data(cluster.folder(index))).collect();
    run(&["import", "--cluster", folders[0].to_str().unwrap(), &exported], 0);
    let nodes = cluster.start_all();
    let mut subscriber = come_back(nodes[1].address("mqtt"), &lasting("subscriber"));
    assert_eq!(subscriber.next(), Got::PubRel(2));
    assert_eq!(["sent", "waits", "open"].map(|payload| take(&mut subscriber, payload)), [3, 4, 5]);
    let mut reader = Client::connect(nodes[2].address("mqtt"), "reader");
    reader.subscribe("kept", QoS::AtLeastOnce);
    assert_eq!(reader.text(), "retained");
    // Each shard has three copies before anybody is killed. What a copy of a folder in use says may be damaged.
    let copy = folder.path().join("copy");
    wait_for("three copies of each shard", || {
        let _ = fs::remove_dir_all(&copy);
        copy_of(&folders[0], &copy);
        let report: Value = serde_json::from_slice(&tool(&["inspect", copy.to_str()?, "--json"]).stdout).ok()?;
        let groups = report["store"]["groups"].as_array()?;
        (groups.len() == 13 && groups.iter().all(|it| it["voters"].as_array().unwrap().len() == 3)).then_some(())
    });
    nodes.into_iter().for_each(Broker::kill);

    for data in &folders {
        let report = inspect(data, 0);
        let store = &report["store"];
        let groups = store["groups"].as_array().unwrap();
        assert_eq!((&store["isMember"], groups.len()), (&json!(true), 13));
        let meta = &groups[0];
        assert_eq!((&meta["group"], &meta["shard"], &meta["contents"]), (&json!(0), &Value::Null, &Value::Null));
        let told = &meta["cluster"];
        assert!(told["id"].is_string() && told["shards"].as_array().unwrap().len() == 12, "{told}");
        let names: Vec<&str> =
            told["nodes"].as_array().unwrap().iter().map(|node| node["name"].as_str().unwrap()).collect();
        assert!(["node-0", "node-1", "node-2"].iter().all(|name| names.contains(name)), "{names:?}");
    }
    // One node has all that is kept.
    let exported = lines(&export(&folders[2]));
    let clients: Vec<_> =
        exported.iter().filter(|line| line["kind"] == "session").map(|line| &line["client"]).collect();
    assert!(["subscriber", "sender", "willing"].iter().all(|name| clients.contains(&&json!(name))), "{clients:?}");
}

/// A copy of a folder that may change meanwhile.
fn copy_of(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_of(&path, &to);
        } else {
            // A file that has just got another name will be there next time.
            let _ = fs::copy(&path, &to);
        }
    }
}

#[test]
fn an_export_passes_through_pipes() {
    let folder = furnished();
    let exported = export(&data(&folder));
    let new = folder.path().join("new");
    let mut import = command(&["import", new.to_str().unwrap(), "-"]);
    let mut child = import.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(exported.as_bytes()).unwrap();
    assert!(child.wait_with_output().unwrap().status.success());
    assert_eq!(lines(&export(&new)), lines(&exported));
}

#[test]
fn a_folder_with_something_is_left_alone_unless_it_is_to_be_merged() {
    let folder = furnished();
    let exported = written(&folder, "export", &export(&data(&folder)));
    // The other folder has one of the clients, one of the topics, and a client of its own.
    let other = Folder::new();
    let broker = start(&other, &[]);
    for id in ["sender", "own"] {
        Client::connect_with(broker.address("mqtt"), &lasting(id)).subscribe("own/#", QoS::AtLeastOnce);
    }
    let mut publisher = publisher(&broker);
    publish(&mut publisher, "own/t", ["own"]);
    let retained = PublishHead { retain: true, qos: QoS::AtLeastOnce, ..PublishHead::default() };
    publisher.publish_with("kept", "its own", retained);
    assert!(matches!(publisher.next(), Got::PubAck(..)));
    settle(&broker, 1);
    broker.kill();

    let new = data(&other);
    let path = new.to_str().unwrap();
    let before = contents(&new.join("store"));
    let (_, errors) = run(&["import", path, &exported], 2);
    assert!(errors.contains("found 2 sessions, 1 retained messages and 0 wills in"), "{errors}");
    assert_eq!(contents(&new.join("store")), before);

    let (_, told) = run(&["import", path, &exported, "--merge"], 0);
    assert!(told.contains("imported 2 sessions with 4 messages in their queues, 0 retained messages"), "{told}");
    assert!(told.contains("client \"sender\", topic \"kept\""), "{told}");
    let report = inspect(&new, 0);
    assert_eq!((&report["store"]["totals"]["sessions"], &report["store"]["lives"]), (&json!(4), &json!(1)));
    let broker = start(&other, &[]);
    let address = broker.address("mqtt");
    for id in ["sender", "own"] {
        assert_eq!(Client::resume(address, &lasting(id)).text(), "own");
    }
    assert_eq!(Client::resume(address, &lasting("subscriber")).next(), Got::PubRel(2));
    let mut reader = Client::connect(address, "reader");
    reader.subscribe("kept", QoS::AtLeastOnce);
    assert_eq!(reader.text(), "its own");
}

#[test]
fn a_file_that_is_not_whole_changes_nothing() {
    let folder = furnished();
    let exported = export(&data(&folder));
    let new = Folder::new();
    start(&new, &[]).kill();
    let store = data(&new).join("store");
    let before = contents(&store);
    let all: Vec<&str> = exported.lines().collect();
    let without_end = all[..all.len() - 1].join("\n") + "\n";
    let line = |from: &str, to: &str| {
        assert!(exported.contains(from), "{from} is not in {exported}");
        exported.replacen(from, to, 1)
    };
    let cases = [
        (String::new(), "found no last line"),
        (without_end, "found no last line"),
        (exported[..exported.len() / 2].to_owned(), "found no end of it"),
        (all[1..].join("\n") + "\n", "line 1: found a session, wanted the head"),
        (exported.clone() + "{\"kind\":\"end\"}\n", "found a line behind the last one"),
        (line("\"version\":1", "\"version\":2"), "line 1: found an export of version 2, wanted 1"),
        (line("\"filter\":\"t\"", "\"filter\":\"a/#/b\""), "filter \"a/#/b\""),
        (line("\"topic\":\"t\"", "\"topic\":\"+\""), "topic \"+\""),
        (line("\"qos\":2", "\"qos\":3"), "found QoS 3, wanted 0, 1 or 2"),
        (line("\"place\":4", "\"place\":99"), "behind the end of its queue"),
        (line("\"sessions\":3", "\"sessions\":2"), "wanted 3 sessions"),
        (line("\"receiveMaximum\":1024", "\"receiveMaximum\":0"), "found the receive maximum 0"),
    ];
    for (text, why) in cases {
        let file = written(&folder, "broken", &text);
        let (_, errors) = run(&["import", data(&new).to_str().unwrap(), &file], 2);
        assert!(errors.contains(why), "{why:?} is not in {errors}");
        assert_eq!(contents(&store), before, "{why}");
    }

    // What a killed import leaves is told, does nobody any harm, and goes with the next one.
    let half = data(&new).join("store.importing");
    fs::create_dir_all(half.join("log")).unwrap();
    assert_eq!(kinds(&inspect(&data(&new), 0)), ["leftOver"]);
    start(&new, &[]).kill();
    run(&["import", data(&new).to_str().unwrap(), &written(&folder, "whole", &exported)], 0);
    assert!(!half.exists());
    go_on(&start(&new, &[]));
}
