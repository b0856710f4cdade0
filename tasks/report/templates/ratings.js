"use strict";
// Ratings of a cohort's scans, kept by this browser under the address of the cohort's page; nothing leaves it but by a saved table.
const ratings = (cohort) => {
  const place = `isovox-ratings:${new URL(cohort, location.href).href.split(/[?#]/)[0]}`;
  const NAMES = ["keep", "doubt", "reject"];
  const all = () => {
    try {
      return JSON.parse(localStorage.getItem(place)) ?? {};
    } catch {
      return {};
    }
  };
  const put = (key, change) => {
    const every = all();
    every[key] = { rating: "", remark: "", ...every[key], ...change, rated: new Date().toISOString().slice(0, 19) + "Z" };
    if (!every[key].rating && !every[key].remark) delete every[key];
    try {
      localStorage.setItem(place, JSON.stringify(every));
    } catch {
      alert("This browser keeps nothing for this page (private mode, or no room left): the rating is lost when the page is left.");
    }
    return every[key];
  };
  const clean = (text) => text.replace(/[\t\r\n]+/g, " ").trim() || "n/a";
  const table = (title, keys) => {
    const every = all();
    const rows = keys.filter((key) => every[key]).map((key) => {
      const { rating, remark, rated } = every[key];
      return [clean(title), key, rating || "n/a", clean(remark), rated].join("\t");
    });
    return [["cohort", "scan", "rating", "remark", "rated"].join("\t"), ...rows, ""].join("\n");
  };
  const save = (title, keys) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([table(title, keys)], { type: "text/tab-separated-values" }));
    link.download = "ratings.tsv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  };
  return { NAMES, all, of: (key) => all()[key] ?? { rating: "", remark: "" }, put, save, table, place };
};
