"use strict";
(() => {
  const table = document.getElementById("table");
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const heads = [...table.tHead.rows[0].cells];
  const search = document.getElementById("search");
  const states = document.getElementById("states");
  const collator = new Intl.Collator(undefined, { numeric: true });

  const compare = (column, sign) => (a, b) => {
    const [one, other] = [a, b].map((row) => row.cells[column].dataset.value);
    if (one === "" || other === "") return (one === "") - (other === "");
    const numeric = heads[column].classList.contains("number");
    return sign * (numeric ? one - other : collator.compare(one, other));
  };

  const sort = (column) => {
    const direction = heads[column].getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
    heads.forEach((head, at) => head.setAttribute("aria-sort", at === column ? direction : "none"));
    rows.sort(compare(column, direction === "ascending" ? 1 : -1));
    body.append(...rows);
  };

  const filter = () => {
    const state = states.querySelector("input:checked").value;
    const text = search.value.trim().toLowerCase();
    for (const row of rows) {
      const named = `${row.cells[0].dataset.value} ${row.cells[1].textContent}`.toLowerCase();
      row.hidden = (state !== "" && row.dataset.state !== state) || !named.includes(text);
    }
    const shown = rows.filter((row) => !row.hidden).length;
    document.getElementById("shown").textContent = `${shown} of ${rows.length} shown`;
  };

  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => sort(column)));
  states.addEventListener("change", filter);
  search.addEventListener("input", filter);
  filter();
})();
