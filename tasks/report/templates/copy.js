"use strict";
// in another page's frame (MLflow's) this one is a blob beside which nothing lies
if (location.protocol === "blob:" || location.protocol === "about:") {
  for (const link of document.querySelectorAll('a[href]:not([href^="#"])')) link.replaceWith(link.textContent);
  if (!document.getElementById("copy")) {
    const note = document.createElement("p");
    note.textContent = "This is a copy, shown in another page. Open the one in the output's folder for the pages and files that it leads to.";
    document.querySelector(".banner").after(note);
  }
}
