//! The table: every function of the API, by its name.

use crate::arguments::release;
use crate::options::Ignored;
use crate::refuse::{self, Named, Refusing};
use crate::{binding, header, memory, options, session, status, types, value};
use ort_sys::OrtApi;

/// A table of functions: those of a module by their own names, others by an expression, and all that are not supported.
macro_rules! table {
    (
        $(in $module:ident: $($function:ident)*;)*
        as: $($field:ident = $value:expr,)*;
        not supported: $($refused:ident)*
    ) => {
        OrtApi {
            $($($function: $module::$function,)*)*
            $($field: $value,)*
            $($refused: {
                struct Name;
                impl Named for Name {
                    const NAME: &'static str = stringify!($refused);
                }
                Refusing::refusing::<Name>()
            },)*
        }
    };
}

/// The functions of this engine, for `ort::set_api`.
///
/// A function that is not supported returns a status that says so and names it.
pub fn api() -> OrtApi {
    table! {
        in status:
            CreateStatus GetErrorCode GetErrorMessage;
        in options:
            CreateEnv CreateEnvWithCustomLogger EnableTelemetryEvents DisableTelemetryEvents CreateSessionOptions
            CloneSessionOptions SetSessionExecutionMode SetSessionLogId SetSessionLogVerbosityLevel
            SetSessionLogSeverityLevel SetSessionGraphOptimizationLevel SetIntraOpNumThreads SetInterOpNumThreads
            CreateRunOptions RunOptionsSetRunLogVerbosityLevel RunOptionsSetRunLogSeverityLevel RunOptionsSetRunTag
            RunOptionsGetRunLogVerbosityLevel RunOptionsGetRunLogSeverityLevel RunOptionsGetRunTag
            RunOptionsSetTerminate RunOptionsUnsetTerminate CreateEnvWithGlobalThreadPools DisablePerSessionThreads
            CreateThreadingOptions AddFreeDimensionOverrideByName GetAvailableProviders ReleaseAvailableProviders
            AddSessionConfigEntry SetLanguageProjection SetGlobalIntraOpNumThreads SetGlobalInterOpNumThreads
            SetGlobalSpinControl CreateEnvWithCustomLoggerAndGlobalThreadPools AddRunConfigEntry
            CreatePrepackedWeightsContainer UpdateEnvWithCustomLogLevel HasSessionConfigEntry GetSessionConfigEntry
            SetUserLoggingFunction SetDeterministicCompute SessionOptionsSetLoadCancellationFlag
            SessionOptionsSetEpSelectionPolicy GetRunConfigEntry CreateEnvWithOptions;
        in session:
            CreateSession CreateSessionFromArray Run SessionGetInputCount SessionGetOutputCount
            SessionGetOverridableInitializerCount SessionGetInputTypeInfo SessionGetOutputTypeInfo SessionGetInputName
            SessionGetOutputName SessionGetModelMetadata CreateSessionWithPrepackedWeightsContainer
            CreateSessionFromArrayWithPrepackedWeightsContainer GetBuildInfoString RunAsync SetEpDynamicOptions
            SessionGetMemoryInfoForInputs SessionGetMemoryInfoForOutputs;
        in binding:
            RunWithBinding CreateIoBinding BindInput BindOutput BindOutputToDevice GetBoundOutputNames
            GetBoundOutputValues ClearBoundInputs ClearBoundOutputs SynchronizeBoundInputs SynchronizeBoundOutputs;
        in value:
            CreateTensorAsOrtValue CreateTensorWithDataAsOrtValue IsTensor GetTensorMutableData GetTensorTypeAndShape
            GetTypeInfo GetValueType TensorAt IsSparseTensor HasValue GetTensorMemoryInfo GetTensorSizeInBytes
            GetTensorData GetTensorElementTypeAndShapeDataReference;
        in types:
            CastTypeInfoToTensorInfo GetOnnxTypeFromTypeInfo CreateTensorTypeAndShapeInfo SetTensorElementType
            SetDimensions GetTensorElementType GetDimensionsCount GetDimensions GetSymbolicDimensions
            GetTensorShapeElementCount SetSymbolicDimensions TensorTypeAndShape_HasShape;
        in memory:
            CreateMemoryInfo CreateCpuMemoryInfo CompareMemoryInfo MemoryInfoGetName MemoryInfoGetId
            MemoryInfoGetMemType MemoryInfoGetType AllocatorAlloc AllocatorFree AllocatorGetInfo
            GetAllocatorWithDefaultOptions CreateAllocator ReleaseAllocator MemoryInfoGetDeviceType CreateMemoryInfo_V2
            MemoryInfoGetDeviceMemType MemoryInfoGetVendorId;
        in header:
            ModelMetadataGetProducerName ModelMetadataGetGraphName ModelMetadataGetDomain ModelMetadataGetDescription
            ModelMetadataLookupCustomMetadataMap ModelMetadataGetVersion ModelMetadataGetCustomMetadataMapKeys
            ModelMetadataGetGraphDescription;
        in refuse:
            CreateKeyValuePairs GetKeyValuePairs;
        as:
            ReleaseEnv = release::<options::Environment>,
            ReleaseStatus = release::<status::Status>,
            ReleaseMemoryInfo = release::<memory::MemoryInfo>,
            ReleaseSession = release::<session::Session>,
            ReleaseValue = release::<value::Value>,
            ReleaseRunOptions = release::<options::RunOptions>,
            ReleaseTypeInfo = release::<types::TypeInfo>,
            ReleaseTensorTypeAndShapeInfo = release::<types::TensorInfo>,
            ReleaseSessionOptions = release::<options::SessionOptions>,
            ReleaseModelMetadata = release::<header::Metadata>,
            ReleaseThreadingOptions = release::<options::ThreadingOptions>,
            ReleaseIoBinding = release::<binding::Binding>,
            ReleasePrepackedWeightsContainer = release::<options::Prepacked>,
            DisableProfiling = Ignored,
            EnableMemPattern = Ignored,
            DisableMemPattern = Ignored,
            EnableCpuMemArena = Ignored,
            DisableCpuMemArena = Ignored,
            ;
        not supported:
            SetOptimizedModelFilePath EnableProfiling CreateCustomOpDomain CustomOpDomain_Add AddCustomOpDomain
            RegisterCustomOpsLibrary SessionGetOverridableInitializerTypeInfo SessionGetOverridableInitializerName
            FillStringTensor GetStringTensorDataLength GetStringTensorContent AddFreeDimensionOverride GetValue
            GetValueCount CreateValue CreateOpaqueValue GetOpaqueValue KernelInfoGetAttribute_float
            KernelInfoGetAttribute_int64 KernelInfoGetAttribute_string KernelContext_GetInputCount
            KernelContext_GetOutputCount KernelContext_GetInput KernelContext_GetOutput ReleaseCustomOpDomain
            GetDenotationFromTypeInfo CastTypeInfoToMapTypeInfo CastTypeInfoToSequenceTypeInfo GetMapKeyType
            GetMapValueType GetSequenceElementType ReleaseMapTypeInfo ReleaseSequenceTypeInfo SessionEndProfiling
            GetStringTensorElementLength GetStringTensorElement FillStringTensorElement CreateAndRegisterAllocator
            SessionGetProfilingStartTimeNs AddInitializer SessionOptionsAppendExecutionProvider_CUDA
            SessionOptionsAppendExecutionProvider_ROCM SessionOptionsAppendExecutionProvider_OpenVINO
            SetGlobalDenormalAsZero CreateArenaCfg ReleaseArenaCfg SessionOptionsAppendExecutionProvider_TensorRT
            SetCurrentGpuDeviceId GetCurrentGpuDeviceId KernelInfoGetAttributeArray_float
            KernelInfoGetAttributeArray_int64 CreateArenaCfgV2 SessionOptionsAppendExecutionProvider_TensorRT_V2
            CreateTensorRTProviderOptions UpdateTensorRTProviderOptions GetTensorRTProviderOptionsAsString
            ReleaseTensorRTProviderOptions EnableOrtCustomOps RegisterAllocator UnregisterAllocator
            CreateSparseTensorAsOrtValue FillSparseTensorCoo FillSparseTensorCsr FillSparseTensorBlockSparse
            CreateSparseTensorWithValuesAsOrtValue UseCooIndices UseCsrIndices UseBlockSparseIndices
            GetSparseTensorFormat GetSparseTensorValuesTypeAndShape GetSparseTensorValues
            GetSparseTensorIndicesTypeShape GetSparseTensorIndices KernelContext_GetGPUComputeStream
            GetExecutionProviderApi SessionOptionsSetCustomCreateThreadFn SessionOptionsSetCustomThreadCreationOptions
            SessionOptionsSetCustomJoinThreadFn SetGlobalCustomCreateThreadFn SetGlobalCustomThreadCreationOptions
            SetGlobalCustomJoinThreadFn SessionOptionsAppendExecutionProvider_CUDA_V2 CreateCUDAProviderOptions
            UpdateCUDAProviderOptions GetCUDAProviderOptionsAsString ReleaseCUDAProviderOptions
            SessionOptionsAppendExecutionProvider_MIGraphX AddExternalInitializers CreateOpAttr ReleaseOpAttr CreateOp
            InvokeOp ReleaseOp SessionOptionsAppendExecutionProvider CopyKernelInfo ReleaseKernelInfo GetTrainingApi
            SessionOptionsAppendExecutionProvider_CANN CreateCANNProviderOptions UpdateCANNProviderOptions
            GetCANNProviderOptionsAsString ReleaseCANNProviderOptions SetGlobalIntraOpThreadAffinity
            RegisterCustomOpsLibrary_V2 RegisterCustomOpsUsingFunction KernelInfo_GetInputCount
            KernelInfo_GetOutputCount KernelInfo_GetInputName KernelInfo_GetOutputName KernelInfo_GetInputTypeInfo
            KernelInfo_GetOutputTypeInfo KernelInfoGetAttribute_tensor SessionOptionsAppendExecutionProvider_Dnnl
            CreateDnnlProviderOptions UpdateDnnlProviderOptions GetDnnlProviderOptionsAsString
            ReleaseDnnlProviderOptions KernelInfo_GetNodeName KernelInfo_GetLogger KernelContext_GetLogger
            Logger_LogMessage Logger_GetLoggingSeverityLevel KernelInfoGetConstantInput_tensor
            CastTypeInfoToOptionalTypeInfo GetOptionalContainedTypeInfo GetResizedStringTensorElementBuffer
            KernelContext_GetAllocator CreateROCMProviderOptions UpdateROCMProviderOptions
            GetROCMProviderOptionsAsString ReleaseROCMProviderOptions CreateAndRegisterAllocatorV2
            UpdateTensorRTProviderOptionsWithValue GetTensorRTProviderOptionsByName UpdateCUDAProviderOptionsWithValue
            GetCUDAProviderOptionsByName KernelContext_GetResource ShapeInferContext_GetInputCount
            ShapeInferContext_GetInputTypeShape ShapeInferContext_GetAttribute ShapeInferContext_SetOutputTypeShape
            ReadOpAttr KernelContext_ParallelFor SessionOptionsAppendExecutionProvider_OpenVINO_V2
            SessionOptionsAppendExecutionProvider_VitisAI KernelContext_GetScratchBuffer KernelInfoGetAllocator
            AddExternalInitializersFromMemory CreateLoraAdapter CreateLoraAdapterFromArray ReleaseLoraAdapter
            RunOptionsAddActiveLoraAdapter ReleaseValueInfo ReleaseNode ReleaseGraph ReleaseModel GetValueInfoName
            GetValueInfoTypeInfo GetModelEditorApi CreateTensorWithDataAndDeleterAsOrtValue GetCompileApi
            AddKeyValuePair GetKeyValue RemoveKeyValuePair ReleaseKeyValuePairs RegisterExecutionProviderLibrary
            UnregisterExecutionProviderLibrary GetEpDevices SessionOptionsAppendExecutionProvider_V2
            SessionOptionsSetEpSelectionPolicyDelegate HardwareDevice_Type HardwareDevice_VendorId HardwareDevice_Vendor
            HardwareDevice_DeviceId HardwareDevice_Metadata EpDevice_EpName EpDevice_EpVendor EpDevice_EpMetadata
            EpDevice_EpOptions EpDevice_Device GetEpApi AllocatorGetStats ValueInfo_GetValueProducer
            ValueInfo_GetValueNumConsumers ValueInfo_GetValueConsumers ValueInfo_GetInitializerValue
            ValueInfo_GetExternalInitializerInfo ValueInfo_IsRequiredGraphInput ValueInfo_IsOptionalGraphInput
            ValueInfo_IsGraphOutput ValueInfo_IsConstantInitializer ValueInfo_IsFromOuterScope Graph_GetName
            Graph_GetModelPath Graph_GetOnnxIRVersion Graph_GetNumOperatorSets Graph_GetOperatorSets Graph_GetNumInputs
            Graph_GetInputs Graph_GetNumOutputs Graph_GetOutputs Graph_GetNumInitializers Graph_GetInitializers
            Graph_GetNumNodes Graph_GetNodes Graph_GetParentNode Graph_GetGraphView Node_GetId Node_GetName
            Node_GetOperatorType Node_GetDomain Node_GetSinceVersion Node_GetNumInputs Node_GetInputs Node_GetNumOutputs
            Node_GetOutputs Node_GetNumImplicitInputs Node_GetImplicitInputs Node_GetNumAttributes Node_GetAttributes
            Node_GetAttributeByName OpAttr_GetTensorAttributeAsOrtValue OpAttr_GetType OpAttr_GetName
            Node_GetNumSubgraphs Node_GetSubgraphs Node_GetGraph Node_GetEpName ReleaseExternalInitializerInfo
            ExternalInitializerInfo_GetFilePath ExternalInitializerInfo_GetFileOffset
            ExternalInitializerInfo_GetByteSize EpDevice_MemoryInfo CreateSharedAllocator GetSharedAllocator
            ReleaseSharedAllocator GetSessionOptionsConfigEntries SessionGetEpDeviceForInputs
            CreateSyncStreamForEpDevice SyncStream_GetHandle ReleaseSyncStream CopyTensors Graph_GetModelMetadata
            GetModelCompatibilityForEpDevices CreateExternalInitializerInfo KernelInfo_GetConfigEntries
            KernelInfo_GetOperatorDomain KernelInfo_GetOperatorType KernelInfo_GetOperatorSinceVersion GetInteropApi
            SessionGetEpDeviceForOutputs GetNumHardwareDevices GetHardwareDevices
            GetHardwareDeviceEpIncompatibilityDetails DeviceEpIncompatibilityDetails_GetReasonsBitmask
            DeviceEpIncompatibilityDetails_GetNotes DeviceEpIncompatibilityDetails_GetErrorCode
            ReleaseDeviceEpIncompatibilityDetails GetCompatibilityInfoFromModel GetCompatibilityInfoFromModelBytes
            Session_GetEpGraphAssignmentInfo EpAssignedSubgraph_GetEpName EpAssignedSubgraph_GetNodes
            EpAssignedNode_GetName EpAssignedNode_GetDomain EpAssignedNode_GetOperatorType RunOptionsSetSyncStream
            RunOptionsEnableProfiling RunOptionsDisableProfiling KernelInfoGetAttributeArray_string
            SetPerSessionThreadPoolCallbacks GetMemPatternEnabled GetSessionExecutionMode SessionReleaseCapturedGraph
            GetExperimentalFunction KernelContext_GetSyncStream SessionOptionsSetWeightlessSourceModelBuffer
            KernelContext_GetPreallocatedOutput SessionOptionsSetEpContextDataReadFunc GetModelPackageApi
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{GetErrorCode, GetErrorMessage, Status};
    use ort_sys::{OrtErrorCode, OrtStatusPtr};
    use std::ffi::{CStr, c_char};
    use std::ptr;

    fn seen(status: OrtStatusPtr) -> (OrtErrorCode, String) {
        assert!(!status.0.is_null());
        // SAFETY: the status is not released yet.
        let seen = unsafe { (GetErrorCode(status.0), CStr::from_ptr(GetErrorMessage(status.0)).to_owned()) };
        // SAFETY: nobody uses it any more.
        unsafe { release::<Status>(status.0) };
        (seen.0, seen.1.to_string_lossy().into_owned())
    }

    /// Calls functions with nothing but nulls and zeros.
    macro_rules! called {
        ($($function:ident($($argument:expr),*))*) => { [$({
            // SAFETY: null is checked before it is used.
            let status = unsafe { (api().$function)($($argument),*) };
            (stringify!($function), seen(status))
        }),*] };
    }

    #[test]
    fn null_is_an_error() {
        let (mut n, c) = (0usize, ptr::null::<c_char>());
        let all = called! {
            SessionGetInputCount(ptr::null(), ptr::null_mut()) SessionGetOutputCount(ptr::null(), &mut n)
            CreateSession(ptr::null(), ptr::null(), ptr::null(), ptr::null_mut())
            Run(ptr::null_mut(), ptr::null(), ptr::null(), ptr::null(), 1, ptr::null(), 1, ptr::null_mut())
            GetDimensions(ptr::null(), ptr::null_mut(), 3) GetTensorMutableData(ptr::null_mut(), ptr::null_mut())
            AllocatorAlloc(ptr::null_mut(), 8, ptr::null_mut()) AddSessionConfigEntry(ptr::null_mut(), c, c)
            BindInput(ptr::null_mut(), c, ptr::null()) RunWithBinding(ptr::null_mut(), ptr::null(), ptr::null())
        };
        for (name, (code, message)) in all {
            assert_eq!(code, OrtErrorCode::ORT_INVALID_ARGUMENT, "{name}");
            assert!(message.ends_with("is null"), "{name}: {message}");
        }
        // SAFETY: null is checked before it is used.
        unsafe { (api().ClearBoundInputs)(ptr::null_mut()) };
    }

    #[test]
    fn functions_that_are_not_supported_say_their_names() {
        let all = called! {
            EnableProfiling(ptr::null_mut(), ptr::null()) AddInitializer(ptr::null_mut(), ptr::null(), ptr::null())
            GetValueCount(ptr::null(), ptr::null_mut()) CreateLoraAdapter(ptr::null(), ptr::null_mut(), ptr::null_mut())
        };
        for (name, (code, message)) in all {
            assert_eq!(code, OrtErrorCode::ORT_NOT_IMPLEMENTED, "{name}");
            assert_eq!(message, format!("not supported by bgz-fusion: {name}"));
        }
        // SAFETY: these take nothing.
        assert!(unsafe { (api().GetModelEditorApi)() }.is_null() && unsafe { (api().GetCompileApi)() }.is_null());
    }
}
