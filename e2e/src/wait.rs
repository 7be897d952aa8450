//! Waiting for something to become so, with a limit, and a message that says what was seen last.

use std::fmt::Debug;
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use futures::StreamExt;
use kube::runtime::watcher;
use kube::{Api, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, interval, timeout_at};

/// How often something is asked that cannot be watched.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// Watches one object until `look` finds what it wants; `look` gets `None` while there is no such object.
pub async fn watch_until<K, T>(
    api: Api<K>,
    name: &str,
    what: &str,
    limit: Duration,
    mut look: impl FnMut(Option<&K>) -> Option<T>,
) -> Result<T>
where
    K: Resource + Clone + Debug + DeserializeOwned + Serialize + Send + 'static,
{
    let deadline = Instant::now() + limit;
    let mut stream = pin!(watcher::watch_object(api, name));
    let mut last = "nothing".to_owned();
    loop {
        let Ok(next) = timeout_at(deadline, stream.next()).await else {
            return Err(anyhow!("waited {limit:?} for {what}; {name} was last seen as: {last}"));
        };
        // A watch that breaks off begins again by itself.
        let Some(Ok(object)) = next else { continue };
        if let Some(found) = look(object.as_ref()) {
            return Ok(found);
        }
        last = object.map_or_else(|| "not there".to_owned(), |object| shown(&object));
    }
}

/// The part of an object that tells how it fares: its status where it has one.
fn shown<K: Serialize>(object: &K) -> String {
    let value = serde_json::to_value(object).unwrap_or_default();
    value.get("status").unwrap_or(&value).to_string()
}

/// Asks again and again until the answer is `Some`. For what cannot be watched: metrics, DNS, logs. An error of the
/// question is an answer too, to be shown when time is up.
pub async fn ask_until<T, F>(what: &str, limit: Duration, mut ask: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<Option<T>>>,
{
    let deadline = Instant::now() + limit;
    let mut rounds = interval(ASK_EVERY);
    let mut last = Err(anyhow!("the question was never answered"));
    loop {
        rounds.tick().await;
        match timeout_at(deadline, ask()).await {
            Ok(Ok(Some(answer))) => return Ok(answer),
            Ok(answer) => last = answer.map(drop),
            Err(_) => {}
        }
        if Instant::now() >= deadline {
            return match last {
                Ok(()) => Err(anyhow!("waited {limit:?} for {what}")),
                Err(error) => Err(error).with_context(|| format!("waited {limit:?} for {what}")),
            };
        }
    }
}

/// Ends with an error when `work` takes longer than `limit`.
pub async fn within<T>(what: &str, limit: Duration, work: impl Future<Output = Result<T>>) -> Result<T> {
    match timeout_at(Instant::now() + limit, work).await {
        Ok(result) => result.with_context(|| what.to_owned()),
        Err(_) => Err(anyhow!("waited {limit:?} for {what}")),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn a_question_is_asked_until_it_is_answered() {
        let asked = Cell::new(0);
        let ask = || async {
            asked.set(asked.get() + 1);
            Ok((asked.get() == 3).then(|| asked.get()))
        };
        assert_eq!(ask_until("three", Duration::from_secs(5), ask).await.unwrap(), 3);
    }

    #[tokio::test]
    async fn the_last_error_is_shown_when_time_is_up() {
        let ask = || async { Err::<Option<()>, _>(anyhow!("no route")) };
        let error = ask_until("an answer", Duration::from_millis(150), ask).await.unwrap_err();
        assert_eq!(format!("{error:#}"), "waited 150ms for an answer: no route");
    }
}
