# Rscript beside_r.R FOLDER: fits what FOLDER/cases.json lists, on FOLDER/<case>.csv, into FOLDER/answers.json
suppressMessages({library(jsonlite); library(lmerTest); library(metafor)})
folder <- commandArgs(trailingOnly = TRUE)[1]
cases <- fromJSON(file.path(folder, "cases.json"), simplifyDataFrame = FALSE)
tight <- lmerControl(optimizer = "bobyqa", optCtrl = list(rhobeg = 0.2, rhoend = 1e-13, maxfun = 1e6), calc.derivs = FALSE)

mixed <- function(case, data) {
  m <- lmer(as.formula(case$formula), data, control = tight)
  found <- as.data.frame(summary(m, ddf = "Kenward-Roger")$coefficients)
  names(found) <- c("estimate", "se", "df", "t", "p")
  list(terms = rownames(found), effects = found, criterion = as.numeric(REMLcrit(m)), singular = isSingular(m, tol = 1e-4))
}

meta <- function(case, data) {
  mods <- as.formula(case$moderators)
  if (is.null(case$random)) {
    r <- rma(yi, vi, mods = mods, data = data, method = case$method, test = case$test, control = list(threshold = 1e-14, maxiter = 1e5))
    tau2 <- r$tau2
  } else {
    r <- rma.mv(yi, vi, mods = mods, random = lapply(case$random, as.formula), data = data, method = case$method, test = "t", dfs = case$dfs,
                control = list(optimizer = "optim", optmethod = "BFGS", reltol = 1e-15, maxit = 20000))
    tau2 <- r$sigma2
  }
  df <- if (is.null(r$ddf) || all(is.na(r$ddf))) rep(Inf, length(r$beta)) else rep(as.numeric(r$ddf), length.out = length(r$beta))
  df <- ifelse(is.na(df), 1e99, pmin(df, 1e99))
  list(terms = rownames(r$beta), estimate = as.numeric(r$beta), se = r$se, p = r$pval, low = r$ci.lb, high = r$ci.ub, df = df, tau2 = tau2, q = r$QE,
       loglik = as.numeric(logLik(r)))
}

answers <- lapply(cases, function(case) {
  data <- read.csv(file.path(folder, paste0(case$name, ".csv")))
  tryCatch(suppressMessages(suppressWarnings(if (case$kind == "mixed") mixed(case, data) else meta(case, data))),
           error = function(e) list(error = conditionMessage(e)))
})
write(toJSON(answers, digits = 17, auto_unbox = TRUE, na = "null"), file.path(folder, "answers.json"))
