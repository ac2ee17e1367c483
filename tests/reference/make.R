# Reference results from R, made with Debian's r-cran-nlme, r-cran-lme4, r-cran-metafor, r-cran-jsonlite, r-cran-lmertest, r-cran-pbkrtest:
#     Rscript tests/reference/make.R        writes r-results.json beside this file
# Data: nlme's Orthodont and Oats, lme4's Pastes, metafor's dat.bcg, dat.konstantopoulos2011 and dat.raudenbush1985 (public, in these
# packages), written as CSV.
suppressMessages({library(nlme); library(lmerTest); library(pbkrtest); library(metafor); library(jsonlite)})
here <- dirname(sub("--file=", "", grep("--file=", commandArgs(FALSE), value = TRUE)))
out <- list(versions = lapply(c(nlme = "nlme", lme4 = "lme4", metafor = "metafor", lmerTest = "lmerTest", pbkrtest = "pbkrtest"),
                              function(p) as.character(packageVersion(p))))
tight <- lmeControl(opt = "optim", tolerance = 1e-12, msTol = 1e-12, msMaxIter = 500, maxIter = 500, optimMethod = "BFGS", reltol = 1e-15)

# per-group residual variances
orth <- as.data.frame(Orthodont); orth$Subject <- as.character(orth$Subject); orth$Sex <- as.character(orth$Sex)
write.csv(orth, file.path(here, "orthodont.csv"), row.names = FALSE, quote = FALSE)
m <- lme(distance ~ age * Sex, random = ~ 1 | Subject, weights = varIdent(form = ~ 1 | Sex), data = orth, control = tight)
ratio <- c(1, coef(m$modelStruct$varStruct, unconstrained = FALSE)); names(ratio)[1] <- setdiff(unique(orth$Sex), names(ratio))
out$orthodont_by_sex <- list(call = deparse(m$call), loglik_reml = as.numeric(logLik(m)), fixef = as.list(fixef(m)),
  se = as.list(sqrt(diag(m$varFix))), residual = as.list((m$sigma * ratio)^2), subject = as.numeric(VarCorr(m)["(Intercept)", "Variance"]),
  logdet_xx = as.numeric(determinant(crossprod(model.matrix(distance ~ age * Sex, orth)))$modulus))
m <- lme(distance ~ age * Sex, random = ~ 1 | Subject, weights = varIdent(form = ~ 1 | Sex), data = orth, control = tight, method = "ML")
out$orthodont_by_sex$loglik_ml <- as.numeric(logLik(m))

# weights, and nesting
ctl <- lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-11, maxfun = 2e5), calc.derivs = FALSE)
set.seed(1); orth$w <- round(runif(nrow(orth), .5, 3), 3)
write.csv(orth, file.path(here, "orthodont.csv"), row.names = FALSE, quote = FALSE)
m <- lmer(distance ~ age * Sex + (1 + age | Subject), orth, weights = w, control = ctl)
out$orthodont_weights <- list(criterion = REMLcrit(m), table = as.data.frame(coef(summary(m, ddf = "Satterthwaite"))), sigma2 = sigma(m)^2,
                              varcorr = as.data.frame(VarCorr(m))[, c("grp", "vcov")])
data(Pastes, package = "lme4"); write.csv(Pastes, file.path(here, "pastes.csv"), row.names = FALSE, quote = FALSE)
m <- lmer(strength ~ 1 + (1 | batch / cask), Pastes, control = ctl)
out$pastes_nested <- list(criterion = REMLcrit(m), kr = as.data.frame(coef(summary(m, ddf = "Kenward-Roger"))),
                          varcorr = as.data.frame(VarCorr(m))[, c("grp", "vcov")])

# further estimators of tau^2
bcg <- escalc(measure = "RR", ai = tpos, bi = tneg, ci = cpos, di = cneg, data = dat.bcg)
write.csv(data.frame(yi = as.numeric(bcg$yi), vi = as.numeric(bcg$vi), ablat = bcg$ablat), file.path(here, "bcg.csv"), row.names = FALSE)
tau <- list(tau2tol = 1e-14)
for (mods in c("~ 1", "~ ablat")) for (method in c("FE", "DL", "HE", "SJ", "ML", "REML", "EB", "PM")) {
  control <- if (method %in% c("ML", "REML", "EB")) list(threshold = 1e-13, maxiter = 1000) else if (method == "PM") list(tol = 1e-13, maxiter = 1000) else list()
  r <- rma(yi, vi, mods = as.formula(mods), data = bcg, method = method, control = control)
  out$bcg[[paste(method, mods)]] <- list(beta = as.numeric(r$beta), se = r$se, tau2 = r$tau2, I2 = r$I2, QE = r$QE, ml = as.numeric(logLik(r, REML = FALSE)),
                                         reml = as.numeric(logLik(r, REML = TRUE)), pi = if (mods == "~ 1" && method != "FE") { p <- predict(r); c(p$pi.lb, p$pi.ub) } else NULL)
}
k <- dat.konstantopoulos2011; write.csv(as.data.frame(k[, c("district", "school", "study", "year", "yi", "vi")]), file.path(here, "konstantopoulos.csv"), row.names = FALSE)
for (method in c("REML", "ML")) {
  r <- rma.mv(yi, vi, random = ~ 1 | district/school, data = k, method = method, test = "t", control = list(optimizer = "optim", optmethod = "BFGS", reltol = 1e-14, maxit = 10000))
  out[[paste0("konstantopoulos_", method)]] <- list(beta = as.numeric(r$beta), se = r$se, sigma2 = r$sigma2, QE = r$QE, loglik = as.numeric(logLik(r)), low = r$ci.lb, high = r$ci.ub)
}
write(toJSON(out, digits = 15, auto_unbox = TRUE, pretty = TRUE, null = "null"), file.path(here, "r-results.json"))
