// One question on its way: sent, waited for, its events put into the place of an answer.
// Knows the request and its events. Does not know the form, or what is done with an answer later.

import { requestEvents } from "./api.js";

// → what the answer ends with: {citations, seconds, prompt, …}.
// `asked`: {text, dataUrl}; `options`: {model, retrieval, prompt}; `onHits(hits)` before any text.
export async function put(asked, options, place, signal, onHits) {
  const body = requestBody(asked, options);
  const waiting = place.wait;
  place.wait(options.retrieval ? "Searching the documents" : "Reading");
  let rest = {};
  for await (const event of requestEvents("/v1/chat/completions", { body, signal, waiting })) {
    const extension = event.rag_vqa ?? {};
    if (extension.hits && options.retrieval) {
      onHits(extension.hits);
      place.cite(extension.hits.map((hit) => hit.rank));
      place.wait("Reading");
    }
    const choice = event.choices?.[0];
    if (choice?.delta?.content) place.add(choice.delta.content);
    if (choice?.finish_reason) rest = extension;
  }
  // Documents that did not fit have no number: the others' ranks, in the order of their numbers.
  if (rest.kept) place.cite(rest.kept);
  place.end(rest);
  return rest;
}

function requestBody({ text, dataUrl }, { model, retrieval, prompt }) {
  const content = [{ type: "text", text }];
  if (dataUrl) content.push({ type: "image_url", image_url: { url: dataUrl } });
  const messages = [{ role: "user", content }];
  return { model, messages, stream: true, rag_vqa: { retrieval, prompt } };
}
