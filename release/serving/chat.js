// The page's conversation. What the model and the user write is shown as text, or as the HTML that
// the server made of it: the browser takes HTML from the one policy below and from nowhere else.

const policy = { createHTML: (html) => html };
const trusted = window.trustedTypes?.createPolicy("typeset", policy) ?? policy;

const at = (id) => document.getElementById(id);
const [talk, question, settings] = ["talk", "question", "settings"].map(at);
const fields = ["temperature", "max-tokens", "system", "follow"].map(at);

const KEY = "tinymathreason/1";
let turns = [];
let running = null; // the AbortController of the answer that is being streamed

// ---- kept for this tab: texts and settings, never HTML

function save() {
  const values = fields.map((field) => (field.type === "checkbox" ? field.checked : field.value));
  try {
    sessionStorage.setItem(KEY, JSON.stringify({ turns, values }));
  } catch {
    // The browser keeps some megabytes for a tab, or nothing: a reload shows what was kept last.
  }
}

function kept() {
  try {
    return JSON.parse(sessionStorage.getItem(KEY)) ?? {};
  } catch {
    return {};
  }
}

function restore() {
  const { values = [], turns: before = [] } = kept();
  values.forEach((value, i) => {
    fields[i][fields[i].type === "checkbox" ? "checked" : "value"] = value;
  });
  turns = before;
  for (const turn of turns) {
    // It was still being answered when the page was left.
    if (!turn.note && !turn.error) turn.note = "stopped";
    const shown = show(turn);
    if (turn.answer) typeset(shown.answer, turn.answer);
    finish(turn, shown);
  }
}

// ---- talking to the server

async function post(path, body, signal) {
  const response = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    signal,
  });
  if (response.ok) return response;
  const answer = await response.json().catch(() => null);
  throw new Error(answer?.error?.message ?? `the server answered with status ${response.status}`);
}

async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      if (block.startsWith("data: ")) yield JSON.parse(block.slice(6));
    }
  }
}

async function typeset(element, text) {
  element.textContent = text;
  element.classList.add("plain");
  const response = await post("typeset", { text }).catch(() => null);
  if (response) insert(element, (await response.json()).html);
}

function insert(element, html) {
  element.classList.remove("plain");
  element.innerHTML = trusted.createHTML(html);
}

function request(text) {
  const [temperature, most, system, follow] = fields;
  const messages = system.value.trim() ? [{ role: "system", content: system.value }] : [];
  for (const turn of follow.checked ? turns : []) {
    if (turn.error || !turn.answer) continue;
    messages.push({ role: "user", content: turn.question });
    messages.push({ role: "assistant", content: turn.answer });
  }
  messages.push({ role: "user", content: text });
  const max_tokens = most.value ? most.valueAsNumber : undefined;
  return { messages, temperature: temperature.valueAsNumber, max_tokens };
}

function ready() {
  if (running) return false;
  if (settings.checkValidity()) return true;
  openSettings(true);
  settings.reportValidity();
  return false;
}

async function ask(text) {
  const turn = { question: text, answer: "", note: "", error: "" };
  turns.push(turn);
  save();
  const shown = show(turn);
  shown.state.textContent = "Thinking…";
  running = new AbortController();
  busy(true);
  scrollTo({ top: document.body.scrollHeight });
  try {
    for await (const event of events(await post("ask", request(text), running.signal))) {
      staying(() => receive(event, turn, shown));
    }
    if (!turn.note && !turn.error) throw new Error("the connection was closed");
  } catch (error) {
    if (running?.signal.aborted) turn.note = "stopped";
    else turn.error = error instanceof TypeError ? "the server cannot be reached" : error.message;
  }
  running = null;
  busy(false);
  if (turns.includes(turn)) {
    if (turn.error && !turn.answer && !question.value) write(text);
    staying(() => finish(turn, shown));
  }
  save();
}

function receive(event, turn, shown) {
  if (event.text !== undefined) {
    turn.answer += event.text;
    shown.state.textContent = "";
    shown.answer.classList.add("live");
    insert(shown.answer, event.html);
  } else if (event.done) {
    const { tokens, seconds, reason } = event.done;
    const speed = seconds > 0 ? tokens / seconds : 0;
    turn.note = `${tokens} tokens, ${speed < 10 ? speed.toFixed(1) : Math.round(speed)} tokens/s`;
    if (reason === "length") turn.note += ", cut at the limit";
  } else if (event.error) {
    turn.error = event.error;
  } else if (event.waiting != null) {
    shown.state.textContent = `Waiting in the queue, ${event.waiting} before you…`;
  }
}

// ---- what is seen

function make(tag, name, parent, text = "") {
  const made = Object.assign(document.createElement(tag), { className: name, textContent: text });
  parent.append(made);
  return made;
}

// Whoever reads the end of the page goes on reading its end; whoever scrolled up is left there.
function staying(act) {
  const low = innerHeight + scrollY > document.body.scrollHeight - 80;
  act();
  if (low) scrollTo({ top: document.body.scrollHeight });
}

function show(turn) {
  at("welcome").hidden = true;
  at("clear").hidden = false;
  const box = make("article", "turn", talk);
  make("h2", "unseen", box, "Question");
  typeset(make("div", "question", box), turn.question);
  make("h2", "unseen", box, "Answer");
  const answer = make("div", "answer", box);
  const state = make("div", "state", box);
  return { box, answer, state };
}

function finish(turn, { box, answer, state }) {
  answer.classList.remove("live");
  state.remove();
  const failed = turn.answer ? "The answer broke off" : "No answer";
  if (turn.error) make("p", "wrong", box, `${failed}: ${turn.error}.`);
  else if (!turn.answer) answer.textContent = "(nothing)";
  const facts = make("div", "facts", box);
  if (turn.note) make("span", "", facts, turn.note);
  if (turn.answer) {
    button(facts, "Copy", async (made) => {
      made.textContent = (await copy(turn.answer)) ? "Copied" : "The browser does not allow it";
      setTimeout(() => (made.textContent = "Copy"), 2000);
    });
  }
  if (turn.error) {
    button(facts, "Try again", () => {
      if (!ready()) return;
      turns.splice(turns.indexOf(turn), 1);
      box.remove();
      if (question.value === turn.question) write("");
      ask(turn.question);
      question.focus();
    });
  }
}

function button(parent, text, act) {
  const made = make("button", "", parent, text);
  made.type = "button";
  made.addEventListener("click", () => act(made));
}

async function copy(text) {
  const clipboard = navigator.clipboard;
  if (clipboard) return clipboard.writeText(text).then(() => true, () => false);
  // Over plain http the browser copies only what is selected.
  const held = document.activeElement;
  const field = make("textarea", "unseen", document.body, text);
  field.focus({ preventScroll: true });
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  held.focus({ preventScroll: true });
  return done;
}

function busy(yes) {
  // What holds the keyboard's focus and is hidden would lose it.
  const held = [at("send"), at("stop")].includes(document.activeElement);
  at("send").hidden = yes;
  at("stop").hidden = !yes;
  // A screen reader reads the answer when it is whole, not every token.
  talk.setAttribute("aria-busy", String(yes));
  if (held) (yes ? at("stop") : question).focus();
}

function openSettings(yes) {
  settings.hidden = !yes;
  at("toggle").setAttribute("aria-expanded", String(yes));
}

function grow() {
  question.style.height = "auto";
  question.style.height = `${question.scrollHeight + 2}px`;
}

function write(text) {
  question.value = text;
  grow();
}

function submit(event) {
  event.preventDefault();
  const text = question.value;
  if (!text.trim() || !ready()) return;
  write("");
  ask(text);
}

at("composer").addEventListener("submit", submit);
settings.addEventListener("submit", (event) => event.preventDefault());
settings.addEventListener("change", save);
question.addEventListener("input", grow);
question.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) submit(event);
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") running?.abort();
});
at("stop").addEventListener("click", () => running?.abort());
at("toggle").addEventListener("click", () => openSettings(settings.hidden));
at("example").addEventListener("click", (event) => {
  write(event.target.textContent);
  question.focus();
});
at("clear").addEventListener("click", () => {
  running?.abort();
  turns = [];
  talk.replaceChildren();
  at("welcome").hidden = false;
  at("clear").hidden = true;
  save();
  question.focus();
});
addEventListener("pagehide", () => {
  // Else the browser breaks the answer off, as if the server had gone.
  running?.abort();
  save();
});

restore();
fetch("v1/models")
  .then((response) => response.json())
  .then(({ data: [model] }) => {
    at("model").textContent = `${model.id}, context ${model.max_model_len.toLocaleString("en")} tokens`;
    document.title = `${model.id.split("/").at(-1)} · TinyMathReason`;
  })
  .catch(() => (at("model").textContent = "the server cannot be reached"));
