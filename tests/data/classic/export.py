"""Writes the models of this folder, with inputs and onnxruntime's outputs: `python export.py [names]`.

It needs scikit-learn 1.9, skl2onnx 1.20, onnxmltools 1.16, xgboost 3.2, lightgbm 4.7 and
onnxruntime; the tests need none of the first five.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import onnxmltools
import onnxruntime
import xgboost
from onnxmltools.convert.common.data_types import FloatTensorType as MlFloats
from skl2onnx import to_onnx
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine
from sklearn.ensemble import (
    AdaBoostClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import (
    LinearRegression,
    LogisticRegression,
    Ridge,
    SGDClassifier,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    Binarizer,
    KBinsDiscretizer,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    PolynomialFeatures,
    RobustScaler,
    StandardScaler,
)
from sklearn.svm import SVC, SVR, LinearSVC, NuSVC, OneClassSVM
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

HERE = Path(__file__).parent
SAMPLES = 12
OPSET = {"": 17, "ai.onnx.ml": 3}

iris, cancer, wine, diabetes = load_iris(), load_breast_cancer(), load_wine(), load_diabetes()
X3, Y3 = iris.data.astype(np.float32), iris.target
X2, Y2 = cancer.data[:, :8].astype(np.float32), cancer.target
XW, YW = wine.data.astype(np.float32), wine.target
XR, YR = diabetes.data.astype(np.float32), diabetes.target
NAMES = np.array(iris.target_names)[Y3]
HOLES = X3.copy()
HOLES[::7, 1] = np.nan
HOLES[3::11, 3] = np.nan
CODES = np.stack([np.arange(120) % 3, np.arange(120) % 5], 1).astype(np.int64)
CODE_Y = (CODES.sum(1) % 2).astype(np.int64)


def skl(model: Any, x: Any, y: Any, zipmap: bool = False, opset: Any = OPSET) -> Any:
    model.fit(x, y)
    options = {} if zipmap else {id(model): {"zipmap": False}}
    try:
        return to_onnx(model, x[:1], options=options, target_opset=opset), x
    except NameError:  # the model knows no such option
        return to_onnx(model, x[:1], target_opset=opset), x


def boosted(model: Any, x: Any, y: Any, convert: Callable[..., Any]) -> Any:
    model.fit(x, y)
    kind = [("X", MlFloats([None, x.shape[1]]))]
    return convert(model, initial_types=kind, target_opset=15), x


xgb, lgb = onnxmltools.convert_xgboost, onnxmltools.convert_lightgbm
LGB = {"n_estimators": 6, "num_leaves": 7, "verbose": -1}
MODELS: dict[str, Callable[[], Any]] = {
    "tree": lambda: skl(DecisionTreeClassifier(max_depth=4, random_state=0), X3, Y3),
    "tree_small": lambda: skl(DecisionTreeClassifier(max_depth=1, random_state=0), X2, Y2),
    "tree_names_zipmap": lambda: skl(DecisionTreeClassifier(max_depth=3, random_state=0), X3, NAMES, True),
    "tree_missing": lambda: skl(DecisionTreeClassifier(max_depth=4, random_state=0), HOLES, Y3),
    "tree_regressor": lambda: skl(DecisionTreeRegressor(max_depth=5, random_state=0), XR, YR),
    "tree_two_targets": lambda: skl(
        DecisionTreeRegressor(max_depth=4, random_state=0), XR, np.stack([YR, YR**2 / 99], 1)),
    "forest": lambda: skl(RandomForestClassifier(6, max_depth=5, random_state=0), XW, YW),
    "forest_two_classes": lambda: skl(RandomForestClassifier(5, max_depth=4, random_state=0), X2, Y2),
    "forest_regressor": lambda: skl(RandomForestRegressor(5, max_depth=4, random_state=0), XR, YR),
    "extra_trees": lambda: skl(ExtraTreesClassifier(4, max_depth=5, random_state=0), X3, NAMES),
    "gradient_boosting": lambda: skl(GradientBoostingClassifier(n_estimators=4, random_state=0), X3, Y3),
    "gradient_boosting_two": lambda: skl(GradientBoostingClassifier(n_estimators=6, random_state=0), X2, Y2),
    "gradient_boosting_regressor": lambda: skl(GradientBoostingRegressor(n_estimators=8, random_state=0), XR, YR),
    "ada_boost": lambda: skl(AdaBoostClassifier(n_estimators=4, random_state=0), X3, Y3),
    "isolation_forest": lambda: skl(IsolationForest(n_estimators=4, max_samples=24, random_state=0), X3, Y3),
    "logistic": lambda: skl(LogisticRegression(max_iter=2000), X3, Y3),
    "logistic_two": lambda: skl(make_pipeline(StandardScaler(), LogisticRegression()), X2, Y2),
    "logistic_zipmap": lambda: skl(LogisticRegression(max_iter=2000), X3, NAMES, True),
    "sgd": lambda: skl(make_pipeline(RobustScaler(), SGDClassifier(random_state=0)), X3, Y3),
    "linear": lambda: skl(LinearRegression(), XR, YR),
    "ridge_two_targets": lambda: skl(Ridge(), XR, np.stack([YR, -2 * YR], 1)),
    "svc_rbf": lambda: skl(SVC(C=0.5, random_state=0), X3[::3], Y3[::3]),
    "svc_two": lambda: skl(SVC(random_state=0), X2[::6], Y2[::6]),
    "svc_linear": lambda: skl(SVC(kernel="linear"), X3, NAMES),
    "svc_poly_probability": lambda: skl(
        SVC(kernel="poly", degree=3, probability=True, random_state=0), X3, Y3),
    "svc_sigmoid": lambda: skl(make_pipeline(MinMaxScaler(), SVC(kernel="sigmoid")), X3, Y3),
    "svc_two_probability": lambda: skl(SVC(probability=True, random_state=0), X2[::6], Y2[::6]),
    "nu_svc": lambda: skl(NuSVC(nu=0.3), X3[::3], Y3[::3]),
    "linear_svc": lambda: skl(LinearSVC(random_state=0), X3, Y3),
    "svr": lambda: skl(SVR(C=9), XR[::6], YR[::6]),
    "one_class_svm": lambda: skl(OneClassSVM(nu=0.2), X3[::3], None),
    "mlp": lambda: skl(make_pipeline(StandardScaler(), MLPClassifier((9,), max_iter=99, random_state=0)), X3, Y3),
    "mlp_names": lambda: skl(MLPClassifier((5,), max_iter=99, random_state=0), X3, NAMES),
    "mlp_regressor": lambda: skl(MLPRegressor(hidden_layer_sizes=(9,), max_iter=99, random_state=0), XR, YR),
    "naive_bayes": lambda: skl(GaussianNB(), X3, Y3),
    "normalized": lambda: skl(make_pipeline(Normalizer(), DecisionTreeClassifier(max_depth=3)), X3, Y3),
    "normalized_l1": lambda: skl(make_pipeline(Normalizer("l1"), LogisticRegression()), X3, Y3),
    "normalized_max": lambda: skl(make_pipeline(Normalizer("max"), LogisticRegression()), X3, Y3),
    "binarized": lambda: skl(make_pipeline(Binarizer(threshold=2.0), LogisticRegression()), X3, Y3),
    "imputed": lambda: skl(make_pipeline(SimpleImputer(), DecisionTreeClassifier(max_depth=3)), HOLES, Y3),
    "polynomial": lambda: skl(make_pipeline(PolynomialFeatures(2), LinearRegression()), X3, Y3 * 1.5),
    "bins": lambda: skl(make_pipeline(
        KBinsDiscretizer(4, encode="ordinal", quantile_method="averaged_inverted_cdf"),
        LogisticRegression()), X3, Y3),
    "categories": lambda: skl(make_pipeline(
        OneHotEncoder(handle_unknown="ignore", sparse_output=False), LogisticRegression()), CODES, CODE_Y),
    "columns": lambda: skl(make_pipeline(ColumnTransformer([
        ("scaled", StandardScaler(), [0, 2]), ("imputed", SimpleImputer(), [1, 3])]),
        LogisticRegression()), HOLES, Y3),
    "xgboost": lambda: boosted(xgboost.XGBClassifier(n_estimators=4, max_depth=3), HOLES, Y3, xgb),
    "xgboost_two": lambda: boosted(xgboost.XGBClassifier(n_estimators=6, max_depth=3), X2, Y2, xgb),
    "xgboost_regressor": lambda: boosted(xgboost.XGBRegressor(n_estimators=6, max_depth=4), XR, YR, xgb),
    "lightgbm": lambda: boosted(lightgbm.LGBMClassifier(**LGB), HOLES, Y3, lgb),
    "lightgbm_two": lambda: boosted(lightgbm.LGBMClassifier(**LGB), X2, Y2, lgb),
    "lightgbm_regressor": lambda: boosted(lightgbm.LGBMRegressor(**LGB), XR, YR, lgb),
}  # fmt: skip


def flat(output: Any) -> Any:
    """A map for each row as a row; texts as NumPy's own."""
    if isinstance(output, list):
        return np.array([list(row.values()) for row in output], np.float32)
    return output.astype(str) if output.dtype == object else output


def main() -> None:
    wanted = sys.argv[1:] or list(MODELS)
    for name in wanted:
        try:
            model, x = MODELS[name]()
            samples = x[:: max(len(x) // SAMPLES, 1)][:SAMPLES]
            content = model.SerializeToString()
            session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
            outputs = session.run(None, {session.get_inputs()[0].name: samples})
        except Exception as error:
            print(f"{name}: {type(error).__name__}: {error}"[:300])
            continue
        (HERE / f"{name}.onnx").write_bytes(content)
        arrays = {f"output_{i}": flat(o) for i, o in enumerate(outputs)}
        np.savez_compressed(HERE / f"{name}.npz", x=samples, **arrays)
        print(name, len(content), sorted({n.op_type for n in model.graph.node}))


if __name__ == "__main__":
    main()
