"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const element = (id) => document.getElementById(id);
let at = 0;

function showFine(place, how) {
  element("fine").hidden = place === null;
  if (place !== null) element("fine").src = data.fine[place];
  element("fine-name").textContent = place === null ? "none: the measures disagree, and ties are dropped" : `${place}, ${how}`;
}

function show(number) {
  at = Math.max(0, Math.min(data.pairs.length - 1, number));
  const pair = data.pairs[at];
  element("at").value = at;
  element("coarse").src = data.coarse[pair.coarse];
  element("coarse-name").textContent = `${pair.coarse}; the headers put it at fine slice ${pair.header}`;
  showFine(pair.fine, pair.tied ? "taken by the sum of ranks" : `${pair.count} of ${pair.votes.length} votes`);
  pair.votes.forEach((place, n) => {
    element(`vote-${n}`).textContent = place;
    element(`vote-${n}`).className = place === pair.fine ? "chosen" : "";
    element(`value-${n}`).textContent = pair.values[n];
  });
  element("status").textContent = `Pair ${at + 1} of ${data.pairs.length}${pair.tied ? ": tied" : ""}`;
}

function nextTie() {
  const order = [...data.pairs.keys()].map((n) => (at + 1 + n) % data.pairs.length);
  const tied = order.find((n) => data.pairs[n].tied);
  if (tied === undefined) element("status").textContent = "No pair is tied";
  else show(tied);
}

function look(measure) {
  const place = data.pairs[at].votes[measure];
  showFine(place, "what this measure votes for");
}

element("at").addEventListener("input", () => show(Number(element("at").value)));
element("back").addEventListener("click", () => show(at - 1));
element("next").addEventListener("click", () => show(at + 1));
element("tie").addEventListener("click", nextTie);
document.querySelectorAll(".look").forEach((button) => button.addEventListener("click", () => look(Number(button.dataset.measure))));
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.key === "ArrowLeft" && event.target.id !== "at") show(at - 1);
  else if (event.key === "ArrowRight" && event.target.id !== "at") show(at + 1);
  else if (event.key.toLowerCase() === "t") nextTie();
  else if (data.pairs[0].votes[Number(event.key) - 1] !== undefined) look(Number(event.key) - 1);
});
show(0);
