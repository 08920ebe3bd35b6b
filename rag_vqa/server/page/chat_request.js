// Sends one question, and passes the events of its answer to the place that shows it.
// Knows the request and its events. Does not know the form, nor what happens to an answer later.

import { Refused, requestEvents } from "./api.js";
import { dataUrl } from "./pictures.js";

// Codes of errors about the picture.
const PICTURE = ["invalid_image", "invalid_image_url", "invalid_base64_image", "too_large"];

// → the details at the answer's end: {citations, seconds, prompt, …}.
// `question`: {text, picture}; `options`: {model, retrieval, prompt}; `onHits(hits)` before any text.
export async function sendQuestion(question, options, place, signal, onHits) {
  place.wait(options.retrieval ? "Searching the documents" : "Reading");
  const body = requestBody(question.text, await pictureUrl(question.picture), options);
  let rest = {};
  for await (const event of chatEvents(body, signal, place.wait)) {
    const extension = event.rag_vqa ?? {};
    if (extension.hits && options.retrieval) {
      onHits(extension.hits);
      place.cite(extension.hits.map((hit) => hit.rank));
      place.wait("Reading");
    }
    const choice = event.choices?.[0];
    if (choice?.delta?.content) place.add(choice.delta.content);
    if (choice?.delta?.reasoning_content) place.think(choice.delta.reasoning_content);
    if (choice?.finish_reason) rest = extension;
  }
  // Documents that did not fit have no number: the others' ranks, in the order of their numbers.
  if (rest.kept) place.cite(rest.kept);
  place.end(rest, options.retrieval);
  return rest;
}

// The picture as a data URL; null without a picture.
export const pictureUrl = async (picture) => (picture ? dataUrl(picture.blob) : null);

// The server's errors name a field of the request; a person chose a picture.
async function* chatEvents(body, signal, waiting) {
  try {
    yield* requestEvents("/v1/chat/completions", { body, signal, waiting });
  } catch (error) {
    if (!(error instanceof Refused && PICTURE.includes(error.code))) throw error;
    throw new Refused(error.message.replace(/^[\w.[\]]+(?=: )/, "The picture"), error.status);
  }
}

function requestBody(text, address, { model, retrieval, prompt }) {
  const content = [{ type: "text", text }];
  if (address) content.push({ type: "image_url", image_url: { url: address } });
  const messages = [{ role: "user", content }];
  return { model, messages, stream: true, rag_vqa: { retrieval, prompt } };
}
