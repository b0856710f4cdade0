"use strict";
(() => {
  const at = (id) => document.getElementById(id);
  const table = at("table");
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const heads = [...table.tHead.rows[0].cells];
  const states = at("states");
  const collator = new Intl.Collator(undefined, { numeric: true });
  const copy = location.protocol === "blob:" || location.protocol === "about:"; // nothing lies beside it
  const rated = ratings(location.href);
  const title = at("main").dataset.title;
  const key = (row) => row.cells[0].dataset.value;
  const further = (column) => (String(column).startsWith("further-") ? Number(column.slice(8)) : -1); // figures without a column
  const value = (row, column) => (further(column) < 0 ? row.cells[column].dataset.value : row.dataset.further.split(",")[further(column)]);
  const isNumber = (column) => further(column) >= 0 || heads[column].classList.contains("number");
  const text = (row, column) => (further(column) < 0 ? row.cells[column].firstChild.textContent : value(row, column) || "–");

  // -- a tile a scan, made when pictures are first shown --

  const tiles = new Map();
  const make = (name, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(name), properties);
    element.append(...children);
    return element;
  };
  const tile = (row) => {
    const name = key(row);
    const figure = make("figure", { className: "tile" });
    figure.dataset.key = name;
    const { picture, viewer, state } = row.dataset;
    if (picture) {
      const image = make("img", { loading: "lazy", decoding: "async", alt: `${name}, before and after`, src: picture });
      image.addEventListener("error", () => image.replaceWith(make("div", { className: "blank", textContent: "The picture is not beside this page." })));
      figure.append(make("a", { href: viewer ?? row.cells[0].querySelector("a").getAttribute("href"), title: "every slice", ariaLabel: `every slice of ${name}` }, image));
    } else figure.append(make("div", { className: "blank", textContent: row.cells[1].querySelector(".why")?.textContent ?? "no picture" }));
    const link = row.cells[0].querySelector("a");
    const badge = make("span", { className: `state ${state}`, textContent: state });
    const label = link ? make("a", { href: link.getAttribute("href"), textContent: name, title: "figures" }) : make("span", { textContent: name });
    figure.append(make("figcaption", {}, make("span", { className: "name" }, label), badge, make("span", { className: "value" })));
    if (link) {
      const buttons = rated.NAMES.map((each) => {
        const button = make("button", { type: "button", textContent: each, ariaLabel: `${each} ${name}` });
        button.dataset.rating = each;
        return button;
      });
      const remark = make("input", { placeholder: "remark", ariaLabel: `remark on ${name}`, maxLength: 500, autocomplete: "off" });
      figure.append(make("div", { className: "rate" }, ...buttons, remark));
    }
    return figure;
  };
  const mark = (row) => {
    const { rating, remark } = rated.of(key(row));
    const figure = tiles.get(row);
    for (const button of figure.querySelectorAll("[data-rating]")) button.setAttribute("aria-pressed", String(button.dataset.rating === rating));
    const field = figure.querySelector("input");
    if (field && field !== document.activeElement) field.value = remark;
    figure.dataset.rated = rating;
  };
  const count = () => {
    const every = Object.entries(rated.all()).filter(([name]) => rows.some((row) => key(row) === name));
    const parts = rated.NAMES.map((name) => `${every.filter(([, each]) => each.rating === name).length} ${name}`);
    at("rated-count").textContent = `${every.length} rated: ${parts.join(", ")}.`;
    at("save").disabled = !every.length;
  };
  at("mosaic").addEventListener("click", ({ target }) => {
    const chosen = target.dataset.rating;
    if (!chosen) return;
    const figure = target.closest(".tile");
    rated.put(figure.dataset.key, { rating: target.getAttribute("aria-pressed") === "true" ? "" : chosen });
    mark(rows.find((row) => key(row) === figure.dataset.key));
    count();
  });
  at("mosaic").addEventListener("input", ({ target }) => {
    rated.put(target.closest(".tile").dataset.key, { remark: target.value });
    count();
  });
  at("save").addEventListener("click", () => rated.save(title, rows.map(key).sort(collator.compare)));

  // -- order and choice, of tiles and lines alike --

  const compare = (column, sign) => (a, b) => {
    const [one, other] = [a, b].map((row) => value(row, column));
    if (one === "" || other === "") return (one === "") - (other === "");
    return sign * (isNumber(column) ? one - other : collator.compare(one, other));
  };
  const place = () => {
    const column = at("order").value;
    const direction = at("down").checked ? "descending" : "ascending";
    heads.forEach((head, n) => head.setAttribute("aria-sort", String(n) === column ? direction : "none"));
    rows.sort(compare(column, at("down").checked ? -1 : 1));
    body.append(...rows);
    if (tiles.size) at("mosaic").append(...rows.map((row) => tiles.get(row)));
    label();
  };
  const label = () => {
    const figure = isNumber(at("order").value) ? at("order").value : at("figure").value;
    const name = at("figure").querySelector(`option[value="${figure}"]`).textContent;
    for (const [row, element] of tiles) element.querySelector(".value").textContent = `${name} ${text(row, figure)}`;
  };
  const between = (row) => {
    const [least, most] = [at("least").value, at("most").value];
    if (least === "" && most === "") return true;
    const number = parseFloat(text(row, at("figure").value).replace(/,/g, "").replace("\u2212", "-")); // as it is shown: per cent are per cent
    return !Number.isNaN(number) && (least === "" || number >= Number(least)) && (most === "" || number <= Number(most));
  };
  const facts = [...document.querySelectorAll("select.fact")];
  const filter = () => {
    const state = states.querySelector("input:checked").value;
    const words = at("search").value.trim().toLowerCase();
    const every = rated.all();
    let shown = 0;
    for (const row of rows) {
      const named = `${key(row)} ${row.cells[1].textContent}`.toLowerCase();
      const rating = every[key(row)]?.rating || "none";
      row.hidden = (state !== "" && row.dataset.state !== state) || !named.includes(words) || !between(row)
        || (at("rated").value !== "" && at("rated").value !== rating) || facts.some((fact) => fact.value && value(row, fact.dataset.column) !== fact.value);
      if (tiles.has(row)) tiles.get(row).hidden = row.hidden;
      shown += !row.hidden;
    }
    at("shown").textContent = `${shown} of ${rows.length} shown`;
  };
  const show = () => {
    const pictures = at("show").querySelector("input:checked").value === "mosaic";
    at("mosaic").hidden = !pictures;
    at("lines").hidden = pictures;
    if (!pictures || tiles.size) return;
    for (const row of rows) {
      tiles.set(row, tile(row));
      mark(row);
    }
    at("mosaic").append(...tiles.values());
    label();
    filter();
  };

  heads.forEach((head, column) =>
    head.querySelector("button").addEventListener("click", () => {
      at("down").checked = head.getAttribute("aria-sort") === "ascending";
      at("order").value = column;
      place();
    }),
  );
  for (const id of ["order", "down"]) at(id).addEventListener("change", place);
  for (const element of [states, at("rated"), at("figure"), at("least"), at("most"), ...facts]) element.addEventListener("change", filter);
  for (const id of ["search", "least", "most"]) at(id).addEventListener("input", filter);
  at("figure").addEventListener("change", label);
  at("show").addEventListener("change", show);
  addEventListener("storage", () => {
    for (const row of tiles.keys()) mark(row);
    count();
    filter();
  });
  if (!copy && rows.some((row) => row.dataset.picture)) {
    document.querySelector(".rating-line").hidden = false;
    at("show").querySelector('input[value="mosaic"]').checked = true;
    count();
  }
  show();
  filter();
})();
