// Generated from ONNX "default/char_lm.onnx" by burn-onnx
use burn::prelude::*;
use burn::nn::Linear;
use burn::nn::LinearConfig;


#[derive(Module, Debug)]
pub struct Submodule1<B: Backend> {
    constant3: burn::module::Param<Tensor<B, 2, Int>>,
    constant1: burn::module::Param<Tensor<B, 2>>,
    constant2: burn::module::Param<Tensor<B, 2>>,
    constant61: burn::module::Param<Tensor<B, 1>>,
    constant62: burn::module::Param<Tensor<B, 1>>,
    constant5: burn::module::Param<Tensor<B, 1>>,
    constant6: burn::module::Param<Tensor<B, 1>>,
    linear1: Linear<B>,
    linear2: Linear<B>,
    linear3: Linear<B>,
    constant77: burn::module::Param<Tensor<B, 1>>,
    constant4: burn::module::Param<Tensor<B, 2, Bool>>,
    linear4: Linear<B>,
    phantom: core::marker::PhantomData<B>,
    #[module(skip)]
    device: B::Device,
}
impl<B: Backend> Submodule1<B> {
    #[allow(unused_variables)]
    pub fn new(device: &B::Device) -> Self {
        let constant3: burn::module::Param<Tensor<B, 2, Int>> = burn::module::Param::uninitialized(
            burn::module::ParamId::new(),
            move |device, _require_grad| Tensor::<
                B,
                2,
                Int,
            >::zeros([1, 256], (device, burn::tensor::DType::I64)),
            device.clone(),
            false,
            [1, 256].into(),
        );
        let constant1: burn::module::Param<Tensor<B, 2>> = burn::module::Param::uninitialized(
            burn::module::ParamId::new(),
            move |device, _require_grad| Tensor::<
                B,
                2,
            >::zeros([96, 128], (device, burn::tensor::DType::F32)),
            device.clone(),
            false,
            [96, 128].into(),
        );
        let constant2: burn::module::Param<Tensor<B, 2>> = burn::module::Param::uninitialized(
            burn::module::ParamId::new(),
            move |device, _require_grad| Tensor::<
                B,
                2,
            >::zeros([256, 128], (device, burn::tensor::DType::F32)),
            device.clone(),
            false,
            [256, 128].into(),
        );
        let constant61: burn::module::Param<Tensor<B, 1>> = burn::module::Param::uninitialized(
            burn::module::ParamId::new(),
            move |device, _require_grad| Tensor::<
                B,
                1,
            >::from_data(
                burn::tensor::TensorData::from([2f64]),
                (device, burn::tensor::DType::F32),
            ),
            device.clone(),
            false,
            [1].into(),
        );
        let constant62: burn::module::Param<Tensor<B, 1>> = burn::module::Param::uninitialized(
            burn::module::ParamId::new(),
            move |device, _require_grad| Tensor::<
                B,
                1,
            >::from_data(
                burn::tensor::TensorData::from([0.000009999999747378752f64]),
                (device, burn::tensor::DType::F32),
            ),
            device.clone(),
            false,
            [1].into(),
        );
        let constant5: burn::module::Param<Tensor<B, 1>> = burn::module::Param::uninitialized(
            burn::module::ParamId::new(),
            move |device, _require_grad| Tensor::<
                B,
                1,
            >::zeros([128], (device, burn::tensor::DType::F32)),
            device.clone(),
            false,
            [128].into(),
        );
        let constant6: burn::module::Param<Tensor<B, 1>> = burn::module::Param::uninitialized(
            burn::module::ParamId::new(),
            move |device, _require_grad| Tensor::<
                B,
                1,
            >::zeros([128], (device, burn::tensor::DType::F32)),
            device.clone(),
            false,
            [128].into(),
        );
        let linear1 = LinearConfig::new(128, 128).with_bias(true).init(device);
        let linear2 = LinearConfig::new(128, 128).with_bias(true).init(device);
        let linear3 = LinearConfig::new(128, 128).with_bias(true).init(device);
        let constant77: burn::module::Param<Tensor<B, 1>> = burn::module::Param::uninitialized(
            burn::module::ParamId::new(),
            move |device, _require_grad| Tensor::<
                B,
                1,
            >::from_data(
                burn::tensor::TensorData::from([5.656854152679443f64]),
                (device, burn::tensor::DType::F32),
            ),
            device.clone(),
            false,
            [1].into(),
        );
        let constant4: burn::module::Param<Tensor<B, 2, Bool>> = burn::module::Param::uninitialized(
            burn::module::ParamId::new(),
            move |device, _require_grad| Tensor::<
                B,
                2,
                Bool,
            >::empty(
                [256, 256],
                (device, burn::tensor::DType::Bool(burn::tensor::BoolStore::Native)),
            ),
            device.clone(),
            false,
            [256, 256].into(),
        );
        let linear4 = LinearConfig::new(128, 128).with_bias(true).init(device);
        Self {
            constant3,
            constant1,
            constant2,
            constant61,
            constant62,
            constant5,
            constant6,
            linear1,
            linear2,
            linear3,
            constant77,
            constant4,
            linear4,
            phantom: core::marker::PhantomData,
            device: device.clone(),
        }
    }
    #[allow(clippy::let_and_return, clippy::approx_constant)]
    pub fn forward(&self, ids: Tensor<B, 2, Int>) -> (Tensor<B, 3>, Tensor<B, 2, Bool>) {
        let shape1_out1: [i64; 2] = {
            let axes = &ids.clone().dims()[0..2];
            let mut output = [0i64; 2];
            for i in 0..2 {
                output[i] = axes[i] as i64;
            }
            output
        };
        let gather1_out1 = shape1_out1[1] as i64;
        let unsqueeze1_out1 = [gather1_out1 as i64];
        let constant3_out1 = self.constant3.val();
        let slice1_out1 = constant3_out1.slice(s![.., 0..unsqueeze1_out1[0]]);
        let constant1_out1 = self.constant1.val();
        let gather2_out1 = constant1_out1.take::<2, 3>(0, ids);
        let constant2_out1 = self.constant2.val();
        let gather3_out1 = constant2_out1.take::<2, 3>(0, slice1_out1);
        let add1_out1 = gather2_out1.add(gather3_out1);
        let reducemean1_out1 = { add1_out1.clone().mean_dim(2usize) };
        let sub1_out1 = add1_out1.clone().sub(reducemean1_out1);
        let constant61_out1 = self.constant61.val();
        let pow1_out1 = sub1_out1
            .clone()
            .powf((constant61_out1).unsqueeze_dims(&[0isize, 1isize]));
        let reducemean2_out1 = { pow1_out1.mean_dim(2usize) };
        let constant62_out1 = self.constant62.val();
        let add2_out1 = reducemean2_out1
            .add((constant62_out1).unsqueeze_dims(&[0isize, 1isize]));
        let sqrt1_out1 = add2_out1.sqrt();
        let div1_out1 = sub1_out1.div(sqrt1_out1);
        let constant5_out1 = self.constant5.val();
        let mul1_out1 = div1_out1
            .mul((constant5_out1).unsqueeze_dims(&[0isize, 1isize]));
        let constant6_out1 = self.constant6.val();
        let add3_out1 = mul1_out1
            .add((constant6_out1).unsqueeze_dims(&[0isize, 1isize]));
        let shape2_out1: [i64; 3] = {
            let axes = &add3_out1.clone().dims()[0..3];
            let mut output = [0i64; 3];
            for i in 0..3 {
                output[i] = axes[i] as i64;
            }
            output
        };
        let gather4_out1 = shape2_out1[0] as i64;
        let shape3_out1: [i64; 3] = {
            let axes = &add3_out1.clone().dims()[0..3];
            let mut output = [0i64; 3];
            for i in 0..3 {
                output[i] = axes[i] as i64;
            }
            output
        };
        let gather5_out1 = shape3_out1[1] as i64;
        let linear1_out1 = self.linear1.forward(add3_out1.clone());
        let linear2_out1 = self.linear2.forward(add3_out1.clone());
        let linear3_out1 = self.linear3.forward(add3_out1);
        let unsqueeze2_out1 = [gather4_out1 as i64];
        let unsqueeze3_out1 = [gather5_out1 as i64];
        let constant68_out1: [i64; 1] = [32i64];
        let constant67_out1: [i64; 1] = [4i64];
        let concat1_out1: [i64; 4usize] = [
            &unsqueeze2_out1[..],
            &unsqueeze3_out1[..],
            &constant67_out1[..],
            &constant68_out1[..],
        ]
            .concat()
            .try_into()
            .unwrap();
        let reshape1_out1 = linear1_out1.reshape(concat1_out1);
        let transpose1_out1 = reshape1_out1.permute([0, 2, 1, 3]);
        let unsqueeze4_out1 = [gather4_out1 as i64];
        let unsqueeze5_out1 = [gather5_out1 as i64];
        let constant72_out1: [i64; 1] = [32i64];
        let constant71_out1: [i64; 1] = [4i64];
        let concat2_out1: [i64; 4usize] = [
            &unsqueeze4_out1[..],
            &unsqueeze5_out1[..],
            &constant71_out1[..],
            &constant72_out1[..],
        ]
            .concat()
            .try_into()
            .unwrap();
        let reshape2_out1 = linear2_out1.reshape(concat2_out1);
        let unsqueeze6_out1 = [gather4_out1 as i64];
        let unsqueeze7_out1 = [gather5_out1 as i64];
        let constant76_out1: [i64; 1] = [32i64];
        let constant75_out1: [i64; 1] = [4i64];
        let concat3_out1: [i64; 4usize] = [
            &unsqueeze6_out1[..],
            &unsqueeze7_out1[..],
            &constant75_out1[..],
            &constant76_out1[..],
        ]
            .concat()
            .try_into()
            .unwrap();
        let reshape3_out1 = linear3_out1.reshape(concat3_out1);
        let transpose2_out1 = reshape3_out1.permute([0, 2, 1, 3]);
        let transpose3_out1 = reshape2_out1.permute([0, 2, 3, 1]);
        let matmul4_out1 = transpose1_out1.matmul(transpose3_out1);
        let constant77_out1 = self.constant77.val();
        let div2_out1 = matmul4_out1
            .div((constant77_out1).unsqueeze_dims(&[0isize, 1isize, 2isize]));
        let unsqueeze8_out1 = [gather5_out1 as i64];
        let constant4_out1 = self.constant4.val();
        let slice2_out1 = constant4_out1.clone().slice(s![0..unsqueeze8_out1[0], ..]);
        let slice3_out1 = slice2_out1.slice(s![.., 0..unsqueeze8_out1[0]]);
        let constant85_out1 = -340282350000000000000000000000000000000f32;
        let where1_out1 = Tensor::<
            B,
            1,
        >::from_data(
                burn::tensor::TensorData::from([constant85_out1 as f64]),
                (&self.device, burn::tensor::DType::F32),
            )
            .reshape([1, 1, 1, 1])
            .mask_where(slice3_out1.unsqueeze_dims(&[0isize, 1isize]), div2_out1);
        let softmax1_out1 = burn::tensor::activation::softmax(where1_out1, 3);
        let matmul5_out1 = softmax1_out1.matmul(transpose2_out1);
        let transpose4_out1 = matmul5_out1.permute([0, 2, 1, 3]);
        let unsqueeze9_out1 = [gather4_out1 as i64];
        let unsqueeze10_out1 = [gather5_out1 as i64];
        let constant88_out1: [i64; 1] = [128i64];
        let concat4_out1: [i64; 3usize] = [
            &unsqueeze9_out1[..],
            &unsqueeze10_out1[..],
            &constant88_out1[..],
        ]
            .concat()
            .try_into()
            .unwrap();
        let reshape4_out1 = transpose4_out1.reshape(concat4_out1);
        let linear4_out1 = self.linear4.forward(reshape4_out1);
        let add4_out1 = add1_out1.add(linear4_out1);
        (add4_out1, constant4_out1)
    }
}
#[derive(Module, Debug)]
pub struct Submodule2<B: Backend> {
    constant89: burn::module::Param<Tensor<B, 1>>,
    constant90: burn::module::Param<Tensor<B, 1>>,
    constant15: burn::module::Param<Tensor<B, 1>>,
    constant16: burn::module::Param<Tensor<B, 1>>,
    linear5: Linear<B>,
    constant91: burn::module::Param<Tensor<B, 1>>,
    constant92: burn::module::Param<Tensor<B, 1>>,
    constant93: burn::module::Param<Tensor<B, 1>>,
    linear6: Linear<B>,
    constant94: burn::module::Param<Tensor<B, 1>>,
    constant95: burn::module::Param<Tensor<B, 1>>,
    constant21: burn::module::Param<Tensor<B, 1>>,
    constant22: burn::module::Param<Tensor<B, 1>>,
    linear7: Linear<B>,
    linear8: Linear<B>,
    linear9: Linear<B>,
    constant110: burn::module::Param<Tensor<B, 1>>,
    linear10: Linear<B>,
    phantom: core::marker::PhantomData<B>,
    #[module(skip)]
    device: B::Device,
}
impl<B: Backend> Submodule2<B> {
    #[allow(unused_variables)]
    pub fn new(device: &B::Device) -> Self {
        let constant89: burn::module::Param<Tensor<B, 1>> = burn::module::Param::uninitialized(
            burn::module::ParamId::new(),
            move |device, _require_grad| Tensor::<
                B,
                1,
            >::from_data(
                burn::tensor::TensorData::from([2f64]),
                (device, burn::tensor::DType::F32),
            ),
            device.clone(),
            false,
            [1].into(),
        );
        let constant90: burn::module::Param<Tensor<B, 1>> = burn::module::Param::uninitialized(
            burn::module::ParamId::new(),
            move |device, _require_grad| Tensor::<
                B,
                1,
            >::from_data(
                burn::tensor::TensorData::from([0.000009999999747378752f64]),
                (device, burn::tensor::DType::F32),
            ),
            device.clone(),
            false,
            [1].into(),
        );
        let constant15: burn::module::Param<Tensor<B, 1>> = burn::module::Param::uninitialized(
            burn::module::ParamId::new(),
            move |device, _require_grad| Tensor::<
                B,
                1,
            >::zeros([128], (device, burn::tensor::DType::F32)),
            device.clone(),
            false,
            [128].into(),
        );
        let constant16: burn::module::Param<Tensor<B, 1>> = burn::module::Param::uninitialized(
            burn::module::ParamId::new(),
            move |device, _require_grad| Tensor::<
                B,
                1,
            >::zeros([128], (device, burn::tensor::DType::F32)),
            device.clone(),
            false,
            [128].into(),
        );
        let linear5 = LinearConfig::new(128, 512).with_bias(true).init(device);
        let constant91: burn::module::Param<Tensor<B, 1>> = burn::module::Param::uninitialized(
            burn::module::ParamId::new(),
            move |device, _require_grad| Tensor::<
                B,
                1,
            >::from_data(
                burn::tensor::TensorData::from([1.4142135381698608f64]),
                (device, burn::tensor::DType::F32),
            ),
            device.clone(),
            false,
            [1].into(),
        );
        let constant92: burn::module::Param<Tensor<B, 1>> = burn::module::Param::uninitialized(
            burn::module::ParamId::new(),
            move |device, _require_grad| Tensor::<
                B,
                1,
            >::from_data(
                burn::tensor::TensorData::from([1f64]),
                (device, burn::tensor::DType::F32),
            ),
            device.clone(),
            false,
            [1].into(),
        );
        let constant93: burn::module::Param<Tensor<B, 1>> = burn::module::Param::uninitialized(
            burn::module::ParamId::new(),
            move |device, _require_grad| Tensor::<
                B,
                1,
            >::from_data(
                burn::tensor::TensorData::from([0.5f64]),
                (device, burn::tensor::DType::F32),
            ),
            device.clone(),
            false,
            [1].into(),
        );
        let linear6 = LinearConfig::new(512, 128).with_bias(true).init(device);
        let constant94: burn::module::Param<Tensor<B, 1>> = burn::module::Param::uninitialized(
            burn::module::ParamId::new(),
            move |device, _require_grad| Tensor::<
                B,
                1,
            >::from_data(
                burn::tensor::TensorData::from([2f64]),
                (device, burn::tensor::DType::F32),
            ),
            device.clone(),
            false,
            [1].into(),
        );
        let constant95: burn::module::Param<Tensor<B, 1>> = burn::module::Param::uninitialized(
            burn::module::ParamId::new(),
            move |device, _require_grad| Tensor::<
                B,
                1,
            >::from_data(
                burn::tensor::TensorData::from([0.000009999999747378752f64]),
                (device, burn::tensor::DType::F32),
            ),
            device.clone(),
            false,
            [1].into(),
        );
        let constant21: burn::module::Param<Tensor<B, 1>> = burn::module::Param::uninitialized(
            burn::module::ParamId::new(),
            move |device, _require_grad| Tensor::<
                B,
                1,
            >::zeros([128], (device, burn::tensor::DType::F32)),
            device.clone(),
            false,
            [128].into(),
        );
        let constant22: burn::module::Param<Tensor<B, 1>> = burn::module::Param::uninitialized(
            burn::module::ParamId::new(),
            move |device, _require_grad| Tensor::<
                B,
                1,
            >::zeros([128], (device, burn::tensor::DType::F32)),
            device.clone(),
            false,
            [128].into(),
        );
        let linear7 = LinearConfig::new(128, 128).with_bias(true).init(device);
        let linear8 = LinearConfig::new(128, 128).with_bias(true).init(device);
        let linear9 = LinearConfig::new(128, 128).with_bias(true).init(device);
        let constant110: burn::module::Param<Tensor<B, 1>> = burn::module::Param::uninitialized(
            burn::module::ParamId::new(),
            move |device, _require_grad| Tensor::<
                B,
                1,
            >::from_data(
                burn::tensor::TensorData::from([5.656854152679443f64]),
                (device, burn::tensor::DType::F32),
            ),
            device.clone(),
            false,
            [1].into(),
        );
        let linear10 = LinearConfig::new(128, 128).with_bias(true).init(device);
        Self {
            constant89,
            constant90,
            constant15,
            constant16,
            linear5,
            constant91,
            constant92,
            constant93,
            linear6,
            constant94,
            constant95,
            constant21,
            constant22,
            linear7,
            linear8,
            linear9,
            constant110,
            linear10,
            phantom: core::marker::PhantomData,
            device: device.clone(),
        }
    }
    #[allow(clippy::let_and_return, clippy::approx_constant)]
    pub fn forward(
        &self,
        add4_out1: Tensor<B, 3>,
        constant4_out1: Tensor<B, 2, Bool>,
    ) -> Tensor<B, 3> {
        let reducemean3_out1 = { add4_out1.clone().mean_dim(2usize) };
        let sub2_out1 = add4_out1.clone().sub(reducemean3_out1);
        let constant89_out1 = self.constant89.val();
        let pow2_out1 = sub2_out1
            .clone()
            .powf((constant89_out1).unsqueeze_dims(&[0isize, 1isize]));
        let reducemean4_out1 = { pow2_out1.mean_dim(2usize) };
        let constant90_out1 = self.constant90.val();
        let add5_out1 = reducemean4_out1
            .add((constant90_out1).unsqueeze_dims(&[0isize, 1isize]));
        let sqrt2_out1 = add5_out1.sqrt();
        let div3_out1 = sub2_out1.div(sqrt2_out1);
        let constant15_out1 = self.constant15.val();
        let mul2_out1 = div3_out1
            .mul((constant15_out1).unsqueeze_dims(&[0isize, 1isize]));
        let constant16_out1 = self.constant16.val();
        let add6_out1 = mul2_out1
            .add((constant16_out1).unsqueeze_dims(&[0isize, 1isize]));
        let linear5_out1 = self.linear5.forward(add6_out1);
        let constant91_out1 = self.constant91.val();
        let div4_out1 = linear5_out1
            .clone()
            .div((constant91_out1).unsqueeze_dims(&[0isize, 1isize]));
        let erf1_out1 = div4_out1.erf();
        let constant92_out1 = self.constant92.val();
        let add7_out1 = erf1_out1
            .add((constant92_out1).unsqueeze_dims(&[0isize, 1isize]));
        let mul3_out1 = linear5_out1.mul(add7_out1);
        let constant93_out1 = self.constant93.val();
        let mul4_out1 = mul3_out1
            .mul((constant93_out1).unsqueeze_dims(&[0isize, 1isize]));
        let linear6_out1 = self.linear6.forward(mul4_out1);
        let add8_out1 = add4_out1.add(linear6_out1);
        let reducemean5_out1 = { add8_out1.clone().mean_dim(2usize) };
        let sub3_out1 = add8_out1.clone().sub(reducemean5_out1);
        let constant94_out1 = self.constant94.val();
        let pow3_out1 = sub3_out1
            .clone()
            .powf((constant94_out1).unsqueeze_dims(&[0isize, 1isize]));
        let reducemean6_out1 = { pow3_out1.mean_dim(2usize) };
        let constant95_out1 = self.constant95.val();
        let add9_out1 = reducemean6_out1
            .add((constant95_out1).unsqueeze_dims(&[0isize, 1isize]));
        let sqrt3_out1 = add9_out1.sqrt();
        let div5_out1 = sub3_out1.div(sqrt3_out1);
        let constant21_out1 = self.constant21.val();
        let mul5_out1 = div5_out1
            .mul((constant21_out1).unsqueeze_dims(&[0isize, 1isize]));
        let constant22_out1 = self.constant22.val();
        let add10_out1 = mul5_out1
            .add((constant22_out1).unsqueeze_dims(&[0isize, 1isize]));
        let shape4_out1: [i64; 3] = {
            let axes = &add10_out1.clone().dims()[0..3];
            let mut output = [0i64; 3];
            for i in 0..3 {
                output[i] = axes[i] as i64;
            }
            output
        };
        let gather6_out1 = shape4_out1[0] as i64;
        let shape5_out1: [i64; 3] = {
            let axes = &add10_out1.clone().dims()[0..3];
            let mut output = [0i64; 3];
            for i in 0..3 {
                output[i] = axes[i] as i64;
            }
            output
        };
        let gather7_out1 = shape5_out1[1] as i64;
        let linear7_out1 = self.linear7.forward(add10_out1.clone());
        let linear8_out1 = self.linear8.forward(add10_out1.clone());
        let linear9_out1 = self.linear9.forward(add10_out1);
        let unsqueeze11_out1 = [gather6_out1 as i64];
        let unsqueeze12_out1 = [gather7_out1 as i64];
        let constant101_out1: [i64; 1] = [32i64];
        let constant100_out1: [i64; 1] = [4i64];
        let concat5_out1: [i64; 4usize] = [
            &unsqueeze11_out1[..],
            &unsqueeze12_out1[..],
            &constant100_out1[..],
            &constant101_out1[..],
        ]
            .concat()
            .try_into()
            .unwrap();
        let reshape5_out1 = linear7_out1.reshape(concat5_out1);
        let transpose5_out1 = reshape5_out1.permute([0, 2, 1, 3]);
        let unsqueeze13_out1 = [gather6_out1 as i64];
        let unsqueeze14_out1 = [gather7_out1 as i64];
        let constant105_out1: [i64; 1] = [32i64];
        let constant104_out1: [i64; 1] = [4i64];
        let concat6_out1: [i64; 4usize] = [
            &unsqueeze13_out1[..],
            &unsqueeze14_out1[..],
            &constant104_out1[..],
            &constant105_out1[..],
        ]
            .concat()
            .try_into()
            .unwrap();
        let reshape6_out1 = linear8_out1.reshape(concat6_out1);
        let unsqueeze15_out1 = [gather6_out1 as i64];
        let unsqueeze16_out1 = [gather7_out1 as i64];
        let constant109_out1: [i64; 1] = [32i64];
        let constant108_out1: [i64; 1] = [4i64];
        let concat7_out1: [i64; 4usize] = [
            &unsqueeze15_out1[..],
            &unsqueeze16_out1[..],
            &constant108_out1[..],
            &constant109_out1[..],
        ]
            .concat()
            .try_into()
            .unwrap();
        let reshape7_out1 = linear9_out1.reshape(concat7_out1);
        let transpose6_out1 = reshape7_out1.permute([0, 2, 1, 3]);
        let transpose7_out1 = reshape6_out1.permute([0, 2, 3, 1]);
        let matmul12_out1 = transpose5_out1.matmul(transpose7_out1);
        let constant110_out1 = self.constant110.val();
        let div6_out1 = matmul12_out1
            .div((constant110_out1).unsqueeze_dims(&[0isize, 1isize, 2isize]));
        let unsqueeze17_out1 = [gather7_out1 as i64];
        let slice4_out1 = constant4_out1.slice(s![0..unsqueeze17_out1[0], ..]);
        let slice5_out1 = slice4_out1.slice(s![.., 0..unsqueeze17_out1[0]]);
        let constant118_out1 = -340282350000000000000000000000000000000f32;
        let where2_out1 = Tensor::<
            B,
            1,
        >::from_data(
                burn::tensor::TensorData::from([constant118_out1 as f64]),
                (&self.device, burn::tensor::DType::F32),
            )
            .reshape([1, 1, 1, 1])
            .mask_where(slice5_out1.unsqueeze_dims(&[0isize, 1isize]), div6_out1);
        let softmax2_out1 = burn::tensor::activation::softmax(where2_out1, 3);
        let matmul13_out1 = softmax2_out1.matmul(transpose6_out1);
        let transpose8_out1 = matmul13_out1.permute([0, 2, 1, 3]);
        let unsqueeze18_out1 = [gather6_out1 as i64];
        let unsqueeze19_out1 = [gather7_out1 as i64];
        let constant121_out1: [i64; 1] = [128i64];
        let concat8_out1: [i64; 3usize] = [
            &unsqueeze18_out1[..],
            &unsqueeze19_out1[..],
            &constant121_out1[..],
        ]
            .concat()
            .try_into()
            .unwrap();
        let reshape8_out1 = transpose8_out1.reshape(concat8_out1);
        let linear10_out1 = self.linear10.forward(reshape8_out1);
        let add11_out1 = add8_out1.add(linear10_out1);
        add11_out1
    }
}
#[derive(Module, Debug)]
pub struct Submodule3<B: Backend> {
    constant122: burn::module::Param<Tensor<B, 1>>,
    constant123: burn::module::Param<Tensor<B, 1>>,
    constant31: burn::module::Param<Tensor<B, 1>>,
    constant32: burn::module::Param<Tensor<B, 1>>,
    linear11: Linear<B>,
    constant124: burn::module::Param<Tensor<B, 1>>,
    constant125: burn::module::Param<Tensor<B, 1>>,
    constant126: burn::module::Param<Tensor<B, 1>>,
    linear12: Linear<B>,
    constant127: burn::module::Param<Tensor<B, 1>>,
    constant128: burn::module::Param<Tensor<B, 1>>,
    constant37: burn::module::Param<Tensor<B, 1>>,
    constant38: burn::module::Param<Tensor<B, 1>>,
    linear13: Linear<B>,
    linear14: Linear<B>,
    linear15: Linear<B>,
    constant143: burn::module::Param<Tensor<B, 1>>,
    linear16: Linear<B>,
    constant155: burn::module::Param<Tensor<B, 1>>,
    constant156: burn::module::Param<Tensor<B, 1>>,
    constant47: burn::module::Param<Tensor<B, 1>>,
    constant48: burn::module::Param<Tensor<B, 1>>,
    linear17: Linear<B>,
    constant157: burn::module::Param<Tensor<B, 1>>,
    constant158: burn::module::Param<Tensor<B, 1>>,
    constant159: burn::module::Param<Tensor<B, 1>>,
    linear18: Linear<B>,
    constant160: burn::module::Param<Tensor<B, 1>>,
    constant161: burn::module::Param<Tensor<B, 1>>,
    constant53: burn::module::Param<Tensor<B, 1>>,
    constant54: burn::module::Param<Tensor<B, 1>>,
    linear19: Linear<B>,
    phantom: core::marker::PhantomData<B>,
    #[module(skip)]
    device: B::Device,
}
impl<B: Backend> Submodule3<B> {
    #[allow(unused_variables)]
    pub fn new(device: &B::Device) -> Self {
        let constant122: burn::module::Param<Tensor<B, 1>> = burn::module::Param::uninitialized(
            burn::module::ParamId::new(),
            move |device, _require_grad| Tensor::<
                B,
                1,
            >::from_data(
                burn::tensor::TensorData::from([2f64]),
                (device, burn::tensor::DType::F32),
            ),
            device.clone(),
            false,
            [1].into(),
        );
        let constant123: burn::module::Param<Tensor<B, 1>> = burn::module::Param::uninitialized(
            burn::module::ParamId::new(),
            move |device, _require_grad| Tensor::<
                B,
                1,
            >::from_data(
                burn::tensor::TensorData::from([0.000009999999747378752f64]),
                (device, burn::tensor::DType::F32),
            ),
            device.clone(),
            false,
            [1].into(),
        );
        let constant31: burn::module::Param<Tensor<B, 1>> = burn::module::Param::uninitialized(
            burn::module::ParamId::new(),
            move |device, _require_grad| Tensor::<
                B,
                1,
            >::zeros([128], (device, burn::tensor::DType::F32)),
            device.clone(),
            false,
            [128].into(),
        );
        let constant32: burn::module::Param<Tensor<B, 1>> = burn::module::Param::uninitialized(
            burn::module::ParamId::new(),
            move |device, _require_grad| Tensor::<
                B,
                1,
            >::zeros([128], (device, burn::tensor::DType::F32)),
            device.clone(),
            false,
            [128].into(),
        );
        let linear11 = LinearConfig::new(128, 512).with_bias(true).init(device);
        let constant124: burn::module::Param<Tensor<B, 1>> = burn::module::Param::uninitialized(
            burn::module::ParamId::new(),
            move |device, _require_grad| Tensor::<
                B,
                1,
            >::from_data(
                burn::tensor::TensorData::from([1.4142135381698608f64]),
                (device, burn::tensor::DType::F32),
            ),
            device.clone(),
            false,
            [1].into(),
        );
        let constant125: burn::module::Param<Tensor<B, 1>> = burn::module::Param::uninitialized(
            burn::module::ParamId::new(),
            move |device, _require_grad| Tensor::<
                B,
                1,
            >::from_data(
                burn::tensor::TensorData::from([1f64]),
                (device, burn::tensor::DType::F32),
            ),
            device.clone(),
            false,
            [1].into(),
        );
        let constant126: burn::module::Param<Tensor<B, 1>> = burn::module::Param::uninitialized(
            burn::module::ParamId::new(),
            move |device, _require_grad| Tensor::<
                B,
                1,
            >::from_data(
                burn::tensor::TensorData::from([0.5f64]),
                (device, burn::tensor::DType::F32),
            ),
            device.clone(),
            false,
            [1].into(),
        );
        let linear12 = LinearConfig::new(512, 128).with_bias(true).init(device);
        let constant127: burn::module::Param<Tensor<B, 1>> = burn::module::Param::uninitialized(
            burn::module::ParamId::new(),
            move |device, _require_grad| Tensor::<
                B,
                1,
            >::from_data(
                burn::tensor::TensorData::from([2f64]),
                (device, burn::tensor::DType::F32),
            ),
            device.clone(),
            false,
            [1].into(),
        );
        let constant128: burn::module::Param<Tensor<B, 1>> = burn::module::Param::uninitialized(
            burn::module::ParamId::new(),
            move |device, _require_grad| Tensor::<
                B,
                1,
            >::from_data(
                burn::tensor::TensorData::from([0.000009999999747378752f64]),
                (device, burn::tensor::DType::F32),
            ),
            device.clone(),
            false,
            [1].into(),
        );
        let constant37: burn::module::Param<Tensor<B, 1>> = burn::module::Param::uninitialized(
            burn::module::ParamId::new(),
            move |device, _require_grad| Tensor::<
                B,
                1,
            >::zeros([128], (device, burn::tensor::DType::F32)),
            device.clone(),
            false,
            [128].into(),
        );
        let constant38: burn::module::Param<Tensor<B, 1>> = burn::module::Param::uninitialized(
            burn::module::ParamId::new(),
            move |device, _require_grad| Tensor::<
                B,
                1,
            >::zeros([128], (device, burn::tensor::DType::F32)),
            device.clone(),
            false,
            [128].into(),
        );
        let linear13 = LinearConfig::new(128, 128).with_bias(true).init(device);
        let linear14 = LinearConfig::new(128, 128).with_bias(true).init(device);
        let linear15 = LinearConfig::new(128, 128).with_bias(true).init(device);
        let constant143: burn::module::Param<Tensor<B, 1>> = burn::module::Param::uninitialized(
            burn::module::ParamId::new(),
            move |device, _require_grad| Tensor::<
                B,
                1,
            >::from_data(
                burn::tensor::TensorData::from([5.656854152679443f64]),
                (device, burn::tensor::DType::F32),
            ),
            device.clone(),
            false,
            [1].into(),
        );
        let linear16 = LinearConfig::new(128, 128).with_bias(true).init(device);
        let constant155: burn::module::Param<Tensor<B, 1>> = burn::module::Param::uninitialized(
            burn::module::ParamId::new(),
            move |device, _require_grad| Tensor::<
                B,
                1,
            >::from_data(
                burn::tensor::TensorData::from([2f64]),
                (device, burn::tensor::DType::F32),
            ),
            device.clone(),
            false,
            [1].into(),
        );
        let constant156: burn::module::Param<Tensor<B, 1>> = burn::module::Param::uninitialized(
            burn::module::ParamId::new(),
            move |device, _require_grad| Tensor::<
                B,
                1,
            >::from_data(
                burn::tensor::TensorData::from([0.000009999999747378752f64]),
                (device, burn::tensor::DType::F32),
            ),
            device.clone(),
            false,
            [1].into(),
        );
        let constant47: burn::module::Param<Tensor<B, 1>> = burn::module::Param::uninitialized(
            burn::module::ParamId::new(),
            move |device, _require_grad| Tensor::<
                B,
                1,
            >::zeros([128], (device, burn::tensor::DType::F32)),
            device.clone(),
            false,
            [128].into(),
        );
        let constant48: burn::module::Param<Tensor<B, 1>> = burn::module::Param::uninitialized(
            burn::module::ParamId::new(),
            move |device, _require_grad| Tensor::<
                B,
                1,
            >::zeros([128], (device, burn::tensor::DType::F32)),
            device.clone(),
            false,
            [128].into(),
        );
        let linear17 = LinearConfig::new(128, 512).with_bias(true).init(device);
        let constant157: burn::module::Param<Tensor<B, 1>> = burn::module::Param::uninitialized(
            burn::module::ParamId::new(),
            move |device, _require_grad| Tensor::<
                B,
                1,
            >::from_data(
                burn::tensor::TensorData::from([1.4142135381698608f64]),
                (device, burn::tensor::DType::F32),
            ),
            device.clone(),
            false,
            [1].into(),
        );
        let constant158: burn::module::Param<Tensor<B, 1>> = burn::module::Param::uninitialized(
            burn::module::ParamId::new(),
            move |device, _require_grad| Tensor::<
                B,
                1,
            >::from_data(
                burn::tensor::TensorData::from([1f64]),
                (device, burn::tensor::DType::F32),
            ),
            device.clone(),
            false,
            [1].into(),
        );
        let constant159: burn::module::Param<Tensor<B, 1>> = burn::module::Param::uninitialized(
            burn::module::ParamId::new(),
            move |device, _require_grad| Tensor::<
                B,
                1,
            >::from_data(
                burn::tensor::TensorData::from([0.5f64]),
                (device, burn::tensor::DType::F32),
            ),
            device.clone(),
            false,
            [1].into(),
        );
        let linear18 = LinearConfig::new(512, 128).with_bias(true).init(device);
        let constant160: burn::module::Param<Tensor<B, 1>> = burn::module::Param::uninitialized(
            burn::module::ParamId::new(),
            move |device, _require_grad| Tensor::<
                B,
                1,
            >::from_data(
                burn::tensor::TensorData::from([2f64]),
                (device, burn::tensor::DType::F32),
            ),
            device.clone(),
            false,
            [1].into(),
        );
        let constant161: burn::module::Param<Tensor<B, 1>> = burn::module::Param::uninitialized(
            burn::module::ParamId::new(),
            move |device, _require_grad| Tensor::<
                B,
                1,
            >::from_data(
                burn::tensor::TensorData::from([0.000009999999747378752f64]),
                (device, burn::tensor::DType::F32),
            ),
            device.clone(),
            false,
            [1].into(),
        );
        let constant53: burn::module::Param<Tensor<B, 1>> = burn::module::Param::uninitialized(
            burn::module::ParamId::new(),
            move |device, _require_grad| Tensor::<
                B,
                1,
            >::zeros([128], (device, burn::tensor::DType::F32)),
            device.clone(),
            false,
            [128].into(),
        );
        let constant54: burn::module::Param<Tensor<B, 1>> = burn::module::Param::uninitialized(
            burn::module::ParamId::new(),
            move |device, _require_grad| Tensor::<
                B,
                1,
            >::zeros([128], (device, burn::tensor::DType::F32)),
            device.clone(),
            false,
            [128].into(),
        );
        let linear19 = LinearConfig::new(128, 96).with_bias(false).init(device);
        Self {
            constant122,
            constant123,
            constant31,
            constant32,
            linear11,
            constant124,
            constant125,
            constant126,
            linear12,
            constant127,
            constant128,
            constant37,
            constant38,
            linear13,
            linear14,
            linear15,
            constant143,
            linear16,
            constant155,
            constant156,
            constant47,
            constant48,
            linear17,
            constant157,
            constant158,
            constant159,
            linear18,
            constant160,
            constant161,
            constant53,
            constant54,
            linear19,
            phantom: core::marker::PhantomData,
            device: device.clone(),
        }
    }
    #[allow(clippy::let_and_return, clippy::approx_constant)]
    pub fn forward(
        &self,
        add11_out1: Tensor<B, 3>,
        constant4_out1: Tensor<B, 2, Bool>,
    ) -> Tensor<B, 3> {
        let reducemean7_out1 = { add11_out1.clone().mean_dim(2usize) };
        let sub4_out1 = add11_out1.clone().sub(reducemean7_out1);
        let constant122_out1 = self.constant122.val();
        let pow4_out1 = sub4_out1
            .clone()
            .powf((constant122_out1).unsqueeze_dims(&[0isize, 1isize]));
        let reducemean8_out1 = { pow4_out1.mean_dim(2usize) };
        let constant123_out1 = self.constant123.val();
        let add12_out1 = reducemean8_out1
            .add((constant123_out1).unsqueeze_dims(&[0isize, 1isize]));
        let sqrt4_out1 = add12_out1.sqrt();
        let div7_out1 = sub4_out1.div(sqrt4_out1);
        let constant31_out1 = self.constant31.val();
        let mul6_out1 = div7_out1
            .mul((constant31_out1).unsqueeze_dims(&[0isize, 1isize]));
        let constant32_out1 = self.constant32.val();
        let add13_out1 = mul6_out1
            .add((constant32_out1).unsqueeze_dims(&[0isize, 1isize]));
        let linear11_out1 = self.linear11.forward(add13_out1);
        let constant124_out1 = self.constant124.val();
        let div8_out1 = linear11_out1
            .clone()
            .div((constant124_out1).unsqueeze_dims(&[0isize, 1isize]));
        let erf2_out1 = div8_out1.erf();
        let constant125_out1 = self.constant125.val();
        let add14_out1 = erf2_out1
            .add((constant125_out1).unsqueeze_dims(&[0isize, 1isize]));
        let mul7_out1 = linear11_out1.mul(add14_out1);
        let constant126_out1 = self.constant126.val();
        let mul8_out1 = mul7_out1
            .mul((constant126_out1).unsqueeze_dims(&[0isize, 1isize]));
        let linear12_out1 = self.linear12.forward(mul8_out1);
        let add15_out1 = add11_out1.add(linear12_out1);
        let reducemean9_out1 = { add15_out1.clone().mean_dim(2usize) };
        let sub5_out1 = add15_out1.clone().sub(reducemean9_out1);
        let constant127_out1 = self.constant127.val();
        let pow5_out1 = sub5_out1
            .clone()
            .powf((constant127_out1).unsqueeze_dims(&[0isize, 1isize]));
        let reducemean10_out1 = { pow5_out1.mean_dim(2usize) };
        let constant128_out1 = self.constant128.val();
        let add16_out1 = reducemean10_out1
            .add((constant128_out1).unsqueeze_dims(&[0isize, 1isize]));
        let sqrt5_out1 = add16_out1.sqrt();
        let div9_out1 = sub5_out1.div(sqrt5_out1);
        let constant37_out1 = self.constant37.val();
        let mul9_out1 = div9_out1
            .mul((constant37_out1).unsqueeze_dims(&[0isize, 1isize]));
        let constant38_out1 = self.constant38.val();
        let add17_out1 = mul9_out1
            .add((constant38_out1).unsqueeze_dims(&[0isize, 1isize]));
        let shape6_out1: [i64; 3] = {
            let axes = &add17_out1.clone().dims()[0..3];
            let mut output = [0i64; 3];
            for i in 0..3 {
                output[i] = axes[i] as i64;
            }
            output
        };
        let gather8_out1 = shape6_out1[0] as i64;
        let shape7_out1: [i64; 3] = {
            let axes = &add17_out1.clone().dims()[0..3];
            let mut output = [0i64; 3];
            for i in 0..3 {
                output[i] = axes[i] as i64;
            }
            output
        };
        let gather9_out1 = shape7_out1[1] as i64;
        let linear13_out1 = self.linear13.forward(add17_out1.clone());
        let linear14_out1 = self.linear14.forward(add17_out1.clone());
        let linear15_out1 = self.linear15.forward(add17_out1);
        let unsqueeze20_out1 = [gather8_out1 as i64];
        let unsqueeze21_out1 = [gather9_out1 as i64];
        let constant134_out1: [i64; 1] = [32i64];
        let constant133_out1: [i64; 1] = [4i64];
        let concat9_out1: [i64; 4usize] = [
            &unsqueeze20_out1[..],
            &unsqueeze21_out1[..],
            &constant133_out1[..],
            &constant134_out1[..],
        ]
            .concat()
            .try_into()
            .unwrap();
        let reshape9_out1 = linear13_out1.reshape(concat9_out1);
        let transpose9_out1 = reshape9_out1.permute([0, 2, 1, 3]);
        let unsqueeze22_out1 = [gather8_out1 as i64];
        let unsqueeze23_out1 = [gather9_out1 as i64];
        let constant138_out1: [i64; 1] = [32i64];
        let constant137_out1: [i64; 1] = [4i64];
        let concat10_out1: [i64; 4usize] = [
            &unsqueeze22_out1[..],
            &unsqueeze23_out1[..],
            &constant137_out1[..],
            &constant138_out1[..],
        ]
            .concat()
            .try_into()
            .unwrap();
        let reshape10_out1 = linear14_out1.reshape(concat10_out1);
        let unsqueeze24_out1 = [gather8_out1 as i64];
        let unsqueeze25_out1 = [gather9_out1 as i64];
        let constant142_out1: [i64; 1] = [32i64];
        let constant141_out1: [i64; 1] = [4i64];
        let concat11_out1: [i64; 4usize] = [
            &unsqueeze24_out1[..],
            &unsqueeze25_out1[..],
            &constant141_out1[..],
            &constant142_out1[..],
        ]
            .concat()
            .try_into()
            .unwrap();
        let reshape11_out1 = linear15_out1.reshape(concat11_out1);
        let transpose10_out1 = reshape11_out1.permute([0, 2, 1, 3]);
        let transpose11_out1 = reshape10_out1.permute([0, 2, 3, 1]);
        let matmul20_out1 = transpose9_out1.matmul(transpose11_out1);
        let constant143_out1 = self.constant143.val();
        let div10_out1 = matmul20_out1
            .div((constant143_out1).unsqueeze_dims(&[0isize, 1isize, 2isize]));
        let unsqueeze26_out1 = [gather9_out1 as i64];
        let slice6_out1 = constant4_out1.slice(s![0..unsqueeze26_out1[0], ..]);
        let slice7_out1 = slice6_out1.slice(s![.., 0..unsqueeze26_out1[0]]);
        let constant151_out1 = -340282350000000000000000000000000000000f32;
        let where3_out1 = Tensor::<
            B,
            1,
        >::from_data(
                burn::tensor::TensorData::from([constant151_out1 as f64]),
                (&self.device, burn::tensor::DType::F32),
            )
            .reshape([1, 1, 1, 1])
            .mask_where(slice7_out1.unsqueeze_dims(&[0isize, 1isize]), div10_out1);
        let softmax3_out1 = burn::tensor::activation::softmax(where3_out1, 3);
        let matmul21_out1 = softmax3_out1.matmul(transpose10_out1);
        let transpose12_out1 = matmul21_out1.permute([0, 2, 1, 3]);
        let unsqueeze27_out1 = [gather8_out1 as i64];
        let unsqueeze28_out1 = [gather9_out1 as i64];
        let constant154_out1: [i64; 1] = [128i64];
        let concat12_out1: [i64; 3usize] = [
            &unsqueeze27_out1[..],
            &unsqueeze28_out1[..],
            &constant154_out1[..],
        ]
            .concat()
            .try_into()
            .unwrap();
        let reshape12_out1 = transpose12_out1.reshape(concat12_out1);
        let linear16_out1 = self.linear16.forward(reshape12_out1);
        let add18_out1 = add15_out1.add(linear16_out1);
        let reducemean11_out1 = { add18_out1.clone().mean_dim(2usize) };
        let sub6_out1 = add18_out1.clone().sub(reducemean11_out1);
        let constant155_out1 = self.constant155.val();
        let pow6_out1 = sub6_out1
            .clone()
            .powf((constant155_out1).unsqueeze_dims(&[0isize, 1isize]));
        let reducemean12_out1 = { pow6_out1.mean_dim(2usize) };
        let constant156_out1 = self.constant156.val();
        let add19_out1 = reducemean12_out1
            .add((constant156_out1).unsqueeze_dims(&[0isize, 1isize]));
        let sqrt6_out1 = add19_out1.sqrt();
        let div11_out1 = sub6_out1.div(sqrt6_out1);
        let constant47_out1 = self.constant47.val();
        let mul10_out1 = div11_out1
            .mul((constant47_out1).unsqueeze_dims(&[0isize, 1isize]));
        let constant48_out1 = self.constant48.val();
        let add20_out1 = mul10_out1
            .add((constant48_out1).unsqueeze_dims(&[0isize, 1isize]));
        let linear17_out1 = self.linear17.forward(add20_out1);
        let constant157_out1 = self.constant157.val();
        let div12_out1 = linear17_out1
            .clone()
            .div((constant157_out1).unsqueeze_dims(&[0isize, 1isize]));
        let erf3_out1 = div12_out1.erf();
        let constant158_out1 = self.constant158.val();
        let add21_out1 = erf3_out1
            .add((constant158_out1).unsqueeze_dims(&[0isize, 1isize]));
        let mul11_out1 = linear17_out1.mul(add21_out1);
        let constant159_out1 = self.constant159.val();
        let mul12_out1 = mul11_out1
            .mul((constant159_out1).unsqueeze_dims(&[0isize, 1isize]));
        let linear18_out1 = self.linear18.forward(mul12_out1);
        let add22_out1 = add18_out1.add(linear18_out1);
        let reducemean13_out1 = { add22_out1.clone().mean_dim(2usize) };
        let sub7_out1 = add22_out1.sub(reducemean13_out1);
        let constant160_out1 = self.constant160.val();
        let pow7_out1 = sub7_out1
            .clone()
            .powf((constant160_out1).unsqueeze_dims(&[0isize, 1isize]));
        let reducemean14_out1 = { pow7_out1.mean_dim(2usize) };
        let constant161_out1 = self.constant161.val();
        let add23_out1 = reducemean14_out1
            .add((constant161_out1).unsqueeze_dims(&[0isize, 1isize]));
        let sqrt7_out1 = add23_out1.sqrt();
        let div13_out1 = sub7_out1.div(sqrt7_out1);
        let constant53_out1 = self.constant53.val();
        let mul13_out1 = div13_out1
            .mul((constant53_out1).unsqueeze_dims(&[0isize, 1isize]));
        let constant54_out1 = self.constant54.val();
        let add24_out1 = mul13_out1
            .add((constant54_out1).unsqueeze_dims(&[0isize, 1isize]));
        let linear19_out1 = self.linear19.forward(add24_out1);
        linear19_out1
    }
}

#[derive(Module, Debug)]
pub struct Model<B: Backend> {
    submodule1: Submodule1<B>,
    submodule2: Submodule2<B>,
    submodule3: Submodule3<B>,
    phantom: core::marker::PhantomData<B>,
    #[module(skip)]
    device: B::Device,
}

impl<B: Backend> Model<B> {
    #[allow(unused_variables)]
    pub fn new(device: &B::Device) -> Self {
        let submodule1 = Submodule1::new(device);
        let submodule2 = Submodule2::new(device);
        let submodule3 = Submodule3::new(device);
        Self {
            submodule1,
            submodule2,
            submodule3,
            phantom: core::marker::PhantomData,
            device: device.clone(),
        }
    }

    #[allow(clippy::let_and_return, clippy::approx_constant)]
    pub fn forward(&self, ids: Tensor<B, 2, Int>) -> Tensor<B, 3> {
        let (add4_out1, constant4_out1) = self.submodule1.forward(ids);
        let add11_out1 = self.submodule2.forward(add4_out1, constant4_out1.clone());
        let linear19_out1 = self.submodule3.forward(add11_out1, constant4_out1);
        linear19_out1
    }
}
