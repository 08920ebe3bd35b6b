// The page: a question is asked, its evidence and its answer shown. Wires the other modules.

import { actions } from "./after.js";
import { answerPlace } from "./answer.js";
import { onTokenNeeded, replaceToken, requestJson } from "./api.js";
import { put } from "./asking.js";
import { chosenPicture, limitPictures, startChoosing } from "./choosing.js";
import { announce, find } from "./dom.js";
import { awaitEvidence, noEvidence, showDropped, showEvidence } from "./evidence.js";
import { showGallery } from "./gallery.js";
import { showInfo, showTrouble, showWaiting } from "./notices.js";
import { watchAnswer } from "./sight.js";
import { askForToken } from "./token.js";

let info = null;
let running = null; // what stops the question in flight

const problem = (text) => {
  find("problem").textContent = text;
};

async function start() {
  find("notices").replaceChildren();
  try {
    info = await requestJson("/v1/info", { waiting: showWaiting });
  } catch (error) {
    showTrouble(error.message, start);
    return;
  }
  showInfo(info);
  limitPictures(info.max_upload_bytes);
  if (find("gallery").hidden) showGallery(info.gallery ?? [], problem);
}

// Documents come and go while the page is open.
async function refresh() {
  try {
    info = await requestJson("/v1/info");
  } catch {
    return; // the next question says what is wrong
  }
  showInfo(info);
}

// A public server says of a token whether it is right, but needs none.
async function enterToken() {
  let wrong = false;
  while (await replaceToken(wrong)) {
    await start();
    if (info === null || info.trusted) return;
    wrong = true;
  }
}

async function ask() {
  if (running) return;
  const picture = chosenPicture();
  if (picture?.refused) {
    problem(picture.refused);
    return;
  }
  const text = find("question").value.trim();
  if (text === "") {
    problem("Write a question first.");
    find("question").focus();
    return;
  }
  problem("");
  if (info === null) await start();
  // Nothing is awaited between this look and `busy`: Enter pressed again finds a question running.
  if (info === null || running) return;
  // Prompts and explanations are for those whom the server trusts.
  await answerWithDocuments({ text, picture, trusted: info.trusted });
}

async function answerWithDocuments(asked) {
  const place = answerPlace("With the documents");
  find("answers").replaceChildren(place.root);
  find("after").replaceChildren();
  awaitEvidence(Math.min(info.k, 3));
  find("results").hidden = false;
  find("results").scrollIntoView({ block: "start" });
  let hits = [];
  const onHits = (found) => {
    hits = found;
    announce(`${showEvidence(found, asked)} found. Reading.`);
  };
  const again = () => answerWithDocuments(asked);
  const rest = await follow(place, again, (signal) =>
    put(asked, { model: info.reader.name, retrieval: true, prompt: asked.trusted }, place, signal, onHits),
  );
  noEvidence();
  if (rest === null) return;
  showDropped(hits, rest.dropped);
  const compare = () => answerWithout(asked);
  find("after").replaceChildren(actions({ info, asked, rest, compare }));
  await refresh();
}

// → whether there is an answer.
async function answerWithout(asked) {
  if (running) return false;
  const place = answerPlace("Without documents");
  const [first] = find("answers").children;
  find("answers").replaceChildren(first, place.root);
  const options = { model: info.reader.name, retrieval: false, prompt: false };
  const again = () => answerWithout(asked);
  const rest = await follow(place, again, (signal) => put(asked, options, place, signal, () => {}));
  return rest !== null;
}

// Runs one question to its end, whatever that is → what `put` gives, or null.
async function follow(place, again, run) {
  const mine = new AbortController();
  busy(mine);
  try {
    const rest = await run(mine.signal);
    announce(`The answer: ${place.text()}`);
    return rest;
  } catch (error) {
    if (mine.signal.aborted) {
      place.stopped();
      announce("Stopped.");
    } else {
      place.fail(error.message, again);
      announce(error.message);
    }
    return null;
  } finally {
    busy(null);
  }
}

function busy(controller) {
  running = controller;
  find("ask").setAttribute("aria-disabled", String(controller !== null));
  const focused = document.activeElement === find("stop");
  find("stop").hidden = controller === null;
  if (focused) find("ask").focus({ preventScroll: true }); // a hidden button cannot keep it
}

find("asking").addEventListener("submit", (event) => {
  event.preventDefault();
  ask();
});
find("stop").addEventListener("click", () => running?.abort());
find("question").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  ask();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && running && !find("token").open) running.abort();
});

find("enter-token").addEventListener("click", enterToken);

onTokenNeeded(askForToken);
startChoosing(problem);
watchAnswer();
start();
