"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const at = (id) => document.getElementById(id);
  const fields = [...document.querySelectorAll("fieldset[data-question]")];
  const UNREACHED = "Not kept yet: the program that serves this page does not answer. Leave the page open; it tries again by itself.";
  const UNLOADED = "A slice could not be loaded; the page asks for it again each second. Leave it open.";
  const waiting = []; // answers that are not on disk yet
  let number = 0; // of the series
  let timer = 0; // of playing
  let sending = false;

  const series = () => data.series[number];
  const answers = (each) => data.answers[each.id];
  const answered = (each) => data.questions.every((question) => answers(each)[question]);
  const unread = () => {
    const first = data.series.findIndex((each) => !answered(each));
    return first < 0 ? data.series.length : first;
  };
  const open = () => fields.find((field) => !answers(series())[field.dataset.question]);

  // -- answers --------------------------------------------------------------------------------------------------------------

  const troubles = { answer: "", slice: "" };
  const trouble = (of, text) => {
    troubles[of] = text;
    at("alert").textContent = [troubles.answer, troubles.slice].filter(Boolean).join(" ");
    at("alert").hidden = !at("alert").textContent;
  };

  const post = async (answer) => {
    const body = JSON.stringify({ reader: data.reader, ...answer });
    const reply = await fetch("/answers", { method: "POST", headers: { "Content-Type": "application/json" }, body });
    if (!reply.ok) throw new Error(await reply.text());
  };

  const send = async () => {
    if (sending) return;
    sending = true;
    while (waiting.length) {
      try {
        await post(waiting[0]);
        waiting.shift();
        trouble("answer", "");
      } catch (error) {
        trouble("answer", error instanceof TypeError ? UNREACHED : `Not kept: ${error.message}`);
        await new Promise((done) => setTimeout(done, 1000));
      }
    }
    sending = false;
    at("status").textContent = answered(series()) ? "Kept. All questions of this series are answered." : "Kept.";
  };

  const choose = (question, level) => {
    answers(series())[question] = level;
    at("status").textContent = "";
    waiting.push({ series: series().id, question, level });
    count();
    send();
  };

  const count = () => {
    const complete = data.series.filter(answered).length;
    at("progress").value = complete;
    at("count").textContent = `${complete} of ${data.series.length} answered`;
  };

  // -- slices ---------------------------------------------------------------------------------------------------------------

  const turn = (slice) => {
    const images = [...at("slices").children];
    const to = Math.min(Math.max(slice, 1), images.length);
    images.forEach((image, n) => image.classList.toggle("shown", n + 1 === to));
    at("slice").value = to;
    const text = `${to} of ${images.length}`;
    at("slice-name").textContent = `Slice ${text}`;
    at("slice").setAttribute("aria-valuetext", `${text}, ${series().places[to - 1]}`);
    at("place").textContent = series().places[to - 1];
  };
  const move = (step) => turn(Number(at("slice").value) + step);

  const play = (on) => {
    clearInterval(timer);
    const last = () => series().places.length;
    let step = 1;
    timer = on
      ? setInterval(() => {
          const slice = Number(at("slice").value);
          if (slice + step > last() || slice + step < 1) step = -step;
          turn(slice + step);
        }, 200)
      : 0;
    at("play").setAttribute("aria-pressed", String(on));
  };

  const shine = () => {
    for (const name of ["bright", "contrast"]) {
      at("stage").style.setProperty(`--${name}`, at(name).value);
      at(name).setAttribute("aria-valuetext", `${Math.round(100 * at(name).value)} %`);
    }
  };

  const lost = new Set(); // slices that could not be loaded yet
  const lacking = (image) => {
    lost.add(image);
    trouble("slice", UNLOADED);
    setTimeout(() => (image.src = image.src), 1000);
  };
  const arrived = (image) => {
    lost.delete(image);
    if (!lost.size) trouble("slice", "");
  };

  const image = (each, slice) => {
    const made = new Image();
    made.src = `/series/${each.id}/${String(slice).padStart(2, "0")}.png`;
    made.alt = `${each.plane} slice ${slice} of ${each.places.length}`;
    made.draggable = false;
    made.addEventListener("error", () => lacking(made));
    made.addEventListener("load", () => arrived(made));
    return made;
  };
  const images = (each) => each.places.map((_, n) => image(each, n + 1));

  // -- from series to series ------------------------------------------------------------------------------------------------

  const show = (to, focus = true) => {
    const done = to >= data.series.length;
    number = Math.min(to, data.series.length - 1);
    play(false);
    at("series").hidden = done;
    at("done").hidden = !done;
    at("title").textContent = done ? "Thank you" : `Series ${number + 1} of ${data.series.length}`;
    at("slices").replaceChildren(...images(series()));
    at("stage").style.setProperty("--ratio", series().ratio);
    document.querySelectorAll("#stage .side").forEach((side, n) => (side.textContent = series().sides[n]));
    at("slice").max = series().places.length;
    at("bright").value = series().bright;
    at("contrast").value = 1;
    shine();
    turn(Math.ceil(series().places.length / 2));
    for (const field of fields)
      for (const radio of field.querySelectorAll("input")) radio.checked = Number(radio.value) === answers(series())[field.dataset.question];
    at("status").textContent = "";
    at("back").hidden = number === 0;
    at("next").textContent = number + 1 === data.series.length ? "Finish" : "Next series";
    count();
    if (focus) {
      window.scrollTo(0, 0);
      at("title").focus({ preventScroll: true });
    }
    if (number + 1 < data.series.length) images(data.series[number + 1]); // so that they are there in time
  };

  const next = async () => {
    const field = open();
    if (field) {
      at("status").textContent = "Answer all questions of this series first.";
      field.querySelector("input").focus();
      return;
    }
    const to = number + 1 < data.series.length ? number + 1 : unread();
    while (to >= data.series.length && waiting.length) {
      at("status").textContent = "Waiting until the last answers are kept.";
      await new Promise((done) => setTimeout(done, 50));
    }
    show(to);
  };

  // -- what is pressed ------------------------------------------------------------------------------------------------------

  at("form").addEventListener("submit", (event) => (event.preventDefault(), next()));
  at("form").addEventListener("change", (event) => choose(event.target.name, Number(event.target.value)));
  at("back").addEventListener("click", () => show(number - 1));
  at("again").addEventListener("click", () => show(data.series.length - 1));
  at("play").addEventListener("click", () => play(!timer));
  at("slice").addEventListener("input", () => (play(false), turn(Number(at("slice").value))));
  at("bright").addEventListener("input", shine);
  at("contrast").addEventListener("input", shine);
  at("stage").addEventListener("wheel", (event) => (event.preventDefault(), play(false), move(Math.sign(event.deltaY))), { passive: false });

  const digit = (level) => {
    const field = document.activeElement.closest("fieldset[data-question]") ?? open();
    const radio = field?.querySelector(`input[value="${level}"]`);
    if (!radio) return;
    radio.checked = true;
    choose(field.dataset.question, level);
    (open()?.querySelector("input") ?? at("next")).focus();
  };
  document.addEventListener("keydown", (event) => {
    if (at("series").hidden || event.ctrlKey || event.altKey || event.metaKey) return;
    const kind = event.target.type;
    const arrow = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (arrow && kind !== "radio" && kind !== "range") (play(false), move(arrow));
    else if (/^[1-9]$/.test(event.key)) digit(Number(event.key));
    else if (event.key.toLowerCase() === "p") play(!timer);
    else if (event.key === "Enter" && event.target.tagName !== "BUTTON" && kind !== "radio") next();
    else return;
    event.preventDefault();
  });
  window.addEventListener("beforeunload", (event) => waiting.length && event.preventDefault());

  show(unread(), false);
})();
